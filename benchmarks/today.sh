#!/usr/bin/env bash
# What people run today: a worktree and a background agent for each task, then the merges one after the other, each
# tested before the next. Nothing here survives its terminal, asks anybody, or keeps what a failed merge leaves behind.
#   today.sh AGENT CHECK TASK...   in the main checkout
set -euo pipefail
agent=$1 check=$2
shift 2
trees=$(git rev-parse --show-toplevel).today
for task in "$@"; do
    git worktree add -q -b "today/$task" "$trees/$task"
    (
        cd "$trees/$task"
        STRETTO_TASK=$task sh "$agent"
        sh -c "$check"
        git add -A
        git commit -q -m "$task"
    ) &
done
wait
for task in "$@"; do
    git merge -q --no-ff -m "Merge $task" "today/$task"
    sh -c "$check"
    git worktree remove "$trees/$task"
    git branch -q -d "today/$task"
done
