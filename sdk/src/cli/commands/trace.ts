// tallystick trace: one payment from the 402 to the transaction to the indexed row.
import type { Command } from "../command.ts";
import type { Context } from "../context.ts";
import { messageOf, usageError } from "../exit.ts";
import { columns } from "../output.ts";
import { callRelayer } from "../relayer-api.ts";
import { indexedStep, stepsOf, valuesOf, type Json, type Step } from "../timeline.ts";

type Trace = { [name: string]: Json };
type Indexed = { claims: Trace[]; settlements: Trace[] };

const PAYMENT_ID = /^pay_[0-9a-f]{32}$/;
const HASH = /^0x[0-9a-f]{64}$/i;
const TIMEOUT_MS = 10_000;

export const trace: Command = {
  path: "trace",
  about: "Follow one payment: 402, decision, voucher, receipt, transaction, indexed row",
  args: "<payment id>",
  positionals: [1, 1],
  details: "The relayer tells its part to the parties of the payment only, so the payer's or the receiver's key signs in. The last part comes\nfrom the index: what the transaction claimed from the channel, and what was settled. Without an index it is left out.",
  needs: ["relayer", "key", "index"],
  options: {},
  examples: [
    { about: "a payment of yours", line: "tallystick trace pay_0193b1c2d4e5f60718293a4b5c6d7e8f" },
    { about: "in the local world", line: "tallystick trace pay_0193b1c2d4e5f60718293a4b5c6d7e8f --local" },
    { about: "everything there is, as JSON", line: "tallystick trace pay_0193b1c2d4e5f60718293a4b5c6d7e8f --json" },
  ],
  async run(context, { positionals: [id] }) {
    if (!PAYMENT_ID.test(id!)) throw usageError("A payment id is pay_ and 32 hex digits.");
    const told = await callRelayer<Trace>(context, `/api/v1/payments/${id}/trace`);
    const indexed = await fromIndex(context, told);
    const steps = [...stepsOf(told), ...(indexed?.claims.map((row) => indexedStep("indexed claim", row)) ?? []), ...(indexed?.settlements.map((row) => indexedStep("indexed settlement", row)) ?? [])];
    return { json: { paymentId: id, trace: told, indexed: indexed ?? null }, text: `${id}\n\n${render(context, steps)}` };
  },
};

/** What the payment's transactions did, as the index has it. Undefined, with a note, when it cannot be asked. */
async function fromIndex(context: Context, told: Trace): Promise<Indexed | undefined> {
  const url = context.settings.graphqlUrl;
  const transactions = [...valuesOf(told, ["transaction", "transactionHash", "txHash", "hash", "settlementTransaction", "claimTransaction"], HASH)];
  const channels = [...valuesOf(told, ["channelId"], HASH)];
  if (url === undefined || transactions.length === 0) return undefined;
  const query = `query ($transactions: [String!], $channels: [String!]) {
    claims(where: { transactionHash_in: $transactions, channelId_in: $channels }) { items { path channelId amount totalClaimed transactionHash blockNumber timestamp } }
    settlements(where: { transactionHash_in: $transactions }) { items { status receiver amount transactionHash blockNumber timestamp } }
  }`;
  try {
    const response = await fetch(url, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ query, variables: { transactions, channels } }),
      signal: AbortSignal.any([context.signal, AbortSignal.timeout(TIMEOUT_MS)]),
    });
    const { data, errors } = (await response.json()) as { data?: { claims: { items: Trace[] }; settlements: { items: Trace[] } }; errors?: { message: string }[] };
    if (data === undefined || errors !== undefined) throw new Error(errors?.[0]?.message ?? `HTTP ${response.status}`);
    return { claims: data.claims.items.map(inAtomic), settlements: data.settlements.items.map(inAtomic) };
  } catch (error) {
    context.output.note(`The index could not be asked (${messageOf(error)}); its part is left out.`);
    return undefined;
  }
}

/** The index' amounts carry no unit in their names. */
function inAtomic(row: Trace): Trace {
  return Object.fromEntries(Object.entries(row).map(([name, value]) => [["amount", "totalClaimed"].includes(name) ? `${name}Atomic` : name, value]));
}

function render({ output }: Context, steps: Step[]): string {
  const clock = (atMs: number | undefined) => (atMs === undefined ? "" : new Date(atMs).toISOString().slice(11, 23));
  const rows = steps.flatMap(({ name, atMs, facts }) => {
    const [first, ...rest] = facts.length === 0 ? [["", ""]] : facts;
    return [[output.paint("dim", clock(atMs)), output.paint("bold", name), first![0]!, first![1]!], ...rest.map(([fact, value]) => ["", "", fact, value])];
  });
  return columns(rows);
}
