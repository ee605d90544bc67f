// tallystick negotiate: agree a price with whoever sells a capability, call it once, and check what was charged.
import { readFile, writeFile } from "node:fs/promises";
import { createA2A, type A2AResult } from "../../negotiation/a2a.ts";
import type { Command, Outcome } from "../command.ts";
import { usageError } from "../exit.ts";
import { columns } from "../output.ts";
import { wholeNumber } from "../parse.ts";

export const negotiate: Command = {
  path: "negotiate",
  about: "Agree a price for a service or a capability, call it, and check the receipt against the offer",
  args: "[service]",
  positionals: [0, 1],
  details: `Publishes a signed intent, takes the cheapest offer after one counter-offer, opens a session with one deposit for --calls
calls, and pays the first. Offers have to be signed by their provider, or lie within a price policy that it signed; the
receipt is held against the offer.
The answer goes to stdout, what was agreed to stderr.`,
  needs: ["chain", "relayer", "key"],
  options: {
    capability: { type: "string", value: "tag", about: "instead of a service: whoever has it" },
    max: { type: "string", value: "usdc", about: "most that one call may cost" },
    calls: { type: "string", value: "n", about: "calls that the session is for; 100 when left out" },
    data: { type: "string", short: "d", value: "json", about: "what is posted: JSON, or @file" },
    path: { type: "string", value: "path", about: "path below the service; / when left out" },
    "save-session": { type: "string", value: "file", about: "write what was signed: offer, policy, acceptance, voucher, receipt; receipt verify --session checks it" },
    "max-latency": { type: "string", value: "ms", about: "only offers that promise at most this latency" },
  },
  examples: [{ about: "a summary at no more than 0.008 USDC", line: "tallystick negotiate --capability text.summary --max 0.008 -d '{\"text\":\"…\"}' --local" }],
  async run(context, { positionals: [service], values }) {
    const text = (name: string) => values[name] as string | undefined;
    const [max, capability, data] = [text("max"), text("capability"), text("data")];
    if (max === undefined) throw usageError("--max says what a call may cost at most, such as --max 0.008.");
    if ((service === undefined) === (capability === undefined)) throw usageError("Name a service, or a --capability.");
    const [chain, account] = [await context.chain(), await context.account()];
    const { relayerUrl } = context.settings;
    if (relayerUrl === undefined) throw usageError("A relayer is needed.", "--relayer, or --local.");
    const calls = wholeNumber("calls", text("calls"), 1, 1_000_000);
    const maxLatencyMs = wholeNumber("max-latency", text("max-latency"), 1, 86_400_000) ?? 0;
    const a2a = createA2A({ relayerUrl, account, reader: chain.client, chainId: chain.info.chainId, sessionChannels: chain.contract, ...(calls === undefined ? {} : { calls }) });
    try {
      const result = await a2a.call({
        ...(service === undefined ? { capability: capability! } : { agentId: service }), maxCost: max, sla: { maxLatencyMs, minUptimePercent: 0 }, ...(data === undefined ? {} : { input: await jsonOf(data) }),
        ...(text("path") === undefined ? {} : { path: text("path")! }),
      });
      const file = text("save-session");
      if (file !== undefined) await writeFile(file, `${JSON.stringify(await a2a.evidence(result.sessionId), undefined, 2)}\n`);
      context.output.note(told(result));
      return outcome(result);
    } finally {
      await a2a.close();
    }
  },
};

async function jsonOf(data: string): Promise<unknown> {
  const text = data.startsWith("@") ? await readFile(data.slice(1), "utf8").catch(() => { throw usageError(`${data.slice(1)} cannot be read.`, undefined, "file_unreadable"); }) : data;
  try {
    return JSON.parse(text);
  } catch {
    throw usageError("-d takes JSON.");
  }
}

const told = ({ service, cost, firstOffered, sessionId, receipt }: A2AResult): string =>
  columns([["service", service], ["charged", `${cost} USDC (${firstOffered} was asked first)`], ["session", sessionId], ["payment", receipt.payload.paymentId]]);

function outcome({ output, service, cost, firstOffered, sessionId, receipt }: A2AResult): Outcome {
  return { exit: "ok", json: { service, cost, firstOffered, sessionId, output, receipt }, text: typeof output === "string" ? output : JSON.stringify(output, null, 2) };
}
