// What stretto loads into pi (with -e): a tool to ask the person, and a question before a tool does something.
//
// pi asks nobody by itself. Both go out as a dialog of its RPC mode whose title is our mark and one JSON object, and
// come back as one JSON object; stretto.agents.pi_asks is the other half. Without such a dialog (another mode, a broken
// answer) the tool is refused: no answer is never a yes.

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

async function ask(ctx, what, signal) {
  if (ctx.mode !== "rpc") return null;
  const said = await ctx.ui.input(MARK + JSON.stringify(what), "", signal ? { signal } : undefined);
  try {
    const answer = JSON.parse(said ?? "null");
    return answer !== null && typeof answer === "object" ? answer : null;
  } catch {
    return null;
  }
}

export default function (pi) {
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
