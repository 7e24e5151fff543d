# Every target sets up what it needs first; on a fresh machine `make demo` and `make test` are all there is to type.
# PYTHON=python3.13 make setup   chooses the interpreter;   make test ARGS="-k landing"   passes words to pytest.
.DEFAULT_GOAL := help
.PHONY: help setup demo test fast lint bench agents test-agents agents-all test-agents-all test-managers lock build clean
BIN := .venv/bin

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' Makefile

setup: ## make .venv ready (done by every other target, too)
	@scripts/setup

demo: setup ## the main job on a sample repository, with scripted agents: no key, under a minute
	@$(BIN)/stretto demo

test: setup ## lint, format, types, layers and every test
	@$(BIN)/python scripts/check.py -- $(ARGS)

fast: setup ## the unit tests only
	@$(BIN)/python scripts/check.py fast -- $(ARGS)

lint: setup ## lint, format, types, layers
	@$(BIN)/python scripts/check.py lint format types layers

bench: setup ## the benchmarks of benchmarks/, as a table and JSON; ONLY=ab for some of them
	@$(BIN)/python -m benchmarks $(ONLY) $(ARGS)

agents: setup ## install the pinned agent programs for the tests (claude, codex, pi, Playwright; about 1.1 GB); ONLY=codex for some
	@scripts/install-agents $(ONLY)

test-agents: agents ## the suite of the real agents, cut off from the network where that can be done
	@$(BIN)/python scripts/test_agents.py $(ARGS)

agents-all: setup ## the same, and all others that the tests know (2.5 GB more)
	@scripts/install-agents claude codex pi opencode gemini qwen aider mini claude-acp codex-acp

test-agents-all: agents-all ## the suite on all of them; writes docs/agents-tested.md; ONLY=stream or ONLY=pane for one mode
	@$(BIN)/python scripts/test_agents.py --all$(if $(ONLY),=$(ONLY)) $(ARGS)

test-managers: setup ## install pnpm, yarn, bun and poetry (about 200 MB) and let them install packages for workspaces
	@scripts/test-managers $(ARGS)

lock: ## resolve the lock files again (needs uv)
	@scripts/lock

build: setup ## wheel and source archive, in dist/
	@$(BIN)/python -m hatchling build

clean: ## remove what the other targets made, .venv included
	@scripts/clean
