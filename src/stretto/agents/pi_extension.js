// What stretto loads into pi (with -e): a tool to ask the person, and a question before a tool does something.
//
// pi asks nobody by itself. In its RPC mode both go out as a dialog whose title is our mark and one JSON object, and come
// back as one JSON object; stretto.agents.pi_asks is the other half. In a terminal they are dialogs with numbered options,
// which stretto.agents.pi_tui reads off the screen. Without a dialog (another mode, a broken answer) the tool is refused:
// no answer is never a yes. What happens in a terminal is told in the spool of the session's hooks as well.

import { appendFileSync, readFileSync } from "node:fs";

const MARK = "stretto:";
const READS = new Set(["read", "grep", "find", "ls"]);
const ASK = "ask_user_question";
const policy = JSON.parse(process.env.STRETTO_PI_POLICY || '{"skip":false,"allow":[],"deny":[]}');
const always = new Set();

function subject(name, input) {
  const value = name === "bash" || name === "powershell" ? input.command : (input.path ?? input.file_path ?? input.url);
  return typeof value === "string" ? value : JSON.stringify(input);
}

function glob(pattern) {
  return new RegExp("^" + pattern.replace(/[.+?^${}()|[\]\\]/g, "\\$&").replace(/\*/g, "[^]*") + "$");
}

function matches(rule, name, text) {
  const [, tool, , pattern] = /^([\w*-]+)(\(([^()]*)\))?$/.exec(rule) ?? [];
  if (tool === undefined || !glob(tool.toLowerCase()).test(name.toLowerCase())) return false;
  return pattern === undefined || glob(pattern).test(text);
}

// a command line that holds a second command is not what a rule for the first one allows
function allowed(name, text) {
  const compound = /[;&|<>`$\n\r(){}]/.test(text);
  return policy.allow.some((rule) => (rule.includes("(") && compound ? false : matches(rule, name, text)));
}

function denied(name, text) {
  const parts = [text, ...text.split(/[;&|\n\r(){}`]+|\$\(/).map((part) => part.trim())];
  return policy.deny.some((rule) => parts.some((part) => matches(rule, name, part)));
}

// the event under its name among hooks (stretto.agents.hooks); a spool that cannot be written hinders nothing
function tell(event) {
  const [spool, session, generation] = JSON.parse(process.env.STRETTO_PI_SPOOL || "[]");
  if (!spool) return;
  try {
    const up = readFileSync("/proc/uptime", "utf8").split(" ")[0];
    appendFileSync(spool + "/events", JSON.stringify({ session, generation, event, body: "", up }) + "\n", { mode: 0o600 });
  } catch {}
}

let asks = 0;

// one dialog of the terminal: the words of the option that was taken, null for none
async function choose(ctx, title, options, signal) {
  const shown = options.map((option, at) => `${at + 1}. ${option.replace(/\s+/g, " ")}`);
  asks += 1;
  const taken = await ctx.ui.select(`${MARK}${asks} ${title}`, shown, signal ? { signal } : undefined);
  return taken === undefined ? null : options[shown.indexOf(taken)];
}

const SHOWN = 1500;
const OTHER = "Other words";

async function permit(ctx, what, signal) {
  const subject = what.subject.length > SHOWN ? what.subject.slice(0, SHOWN) + "…" : what.subject;
  tell("PermissionRequest");
  const keys = { "Allow once": "allow", "Allow exactly this for the session": "always", Deny: "deny" };
  const taken = await choose(ctx, `permission\n${what.tool}: ${subject}`, Object.keys(keys), signal);
  tell("PermissionDenied"); // it works on, whatever the answer was
  return { key: keys[taken] ?? "deny" };
}

async function question(ctx, one, signal) {
  const labels = (one.options ?? []).map((option) => String(option.label));
  if (labels.length) {
    const taken = await choose(ctx, `question\n${one.question}`, [...labels, OTHER], signal);
    if (taken === null || taken !== OTHER || labels.includes(OTHER)) return taken;
  }
  asks += 1;
  return (await ctx.ui.input(`${MARK}${asks} question\n${one.question}`, "", signal ? { signal } : undefined)) ?? null;
}

async function atTerminal(ctx, what, signal) {
  if (what.kind === "permission") return permit(ctx, what, signal);
  const answers = {};
  for (const one of what.input.questions ?? []) {
    tell("Elicitation");
    const said = await question(ctx, one, signal);
    tell("ElicitationResult");
    if (said === null) return null;
    answers[one.question] = said;
  }
  return { answers };
}

async function ask(ctx, what, signal) {
  if (ctx.mode === "tui") return atTerminal(ctx, what, signal);
  if (ctx.mode !== "rpc") return null;
  const said = await ctx.ui.input(MARK + JSON.stringify(what), "", signal ? { signal } : undefined);
  try {
    const answer = JSON.parse(said ?? "null");
    return answer !== null && typeof answer === "object" ? answer : null;
  } catch {
    return null;
  }
}

const EVENTS = {
  agent_start: "UserPromptSubmit",
  tool_execution_end: "PostToolUse",
  agent_settled: "Stop",
  session_shutdown: "SessionEnd",
};

export default function (pi) {
  for (const [name, event] of Object.entries(EVENTS)) pi.on(name, () => tell(event));

  // a version that does not say which it is works as well
  pi.on("session_start", async (event, ctx) => {
    if (ctx.mode !== "rpc") return;
    try {
      const { VERSION } = await import("@earendil-works/pi-coding-agent");
      if (VERSION) ctx.ui.notify(MARK + JSON.stringify({ kind: "version", version: VERSION }), "info");
    } catch {}
  });

  pi.on("tool_call", async (event, ctx) => {
    const name = event.toolName;
    const input = event.input ?? {};
    if (name === ASK) return undefined;
    const text = subject(name, input);
    if (denied(name, text)) return { block: true, reason: "The person's rules do not allow this." };
    const free = policy.skip || READS.has(name) || allowed(name, text) || always.has(JSON.stringify([name, text]));
    if (free) return undefined;
    const answer = await ask(ctx, { kind: "permission", tool: name, subject: text, input }, ctx.signal);
    if (answer?.key === "always") always.add(JSON.stringify([name, text]));
    if (answer?.key === "allow" || answer?.key === "always") return undefined;
    const reason = typeof answer?.text === "string" && answer.text ? answer.text : null;
    return { block: true, reason: reason ?? "The person does not allow this. Find another way, or stop." };
  });

  pi.registerTool({
    name: ASK,
    label: "Ask the person",
    description:
      "Ask the person who gave you this task one or more questions, each with options if there are some. " +
      "Use it when you cannot go on without a decision of theirs.",
    executionMode: "sequential",
    parameters: {
      type: "object",
      required: ["questions"],
      properties: {
        questions: {
          type: "array",
          items: {
            type: "object",
            required: ["question"],
            properties: {
              question: { type: "string" },
              header: { type: "string" },
              multiSelect: { type: "boolean" },
              options: {
                type: "array",
                items: {
                  type: "object",
                  required: ["label"],
                  properties: { label: { type: "string" }, description: { type: "string" } },
                },
              },
            },
          },
        },
      },
    },
    async execute(_id, params, signal, _onUpdate, ctx) {
      const answer = await ask(ctx, { kind: "question", tool: ASK, input: params }, signal);
      if (answer === null || typeof answer.answers !== "object") throw new Error("The person gave no answer.");
      const lines = Object.entries(answer.answers).map(([q, a]) => `${JSON.stringify(q)}=${JSON.stringify(a)}`);
      return { content: [{ type: "text", text: lines.join("\n") }], details: undefined };
    },
  });
}
