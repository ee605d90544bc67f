// tallystick channels close: the seller gives back what is not charged. At once, and without gas.
import { isHex } from "viem";
import { TallystickError } from "../../errors.ts";
import type { Withdrawal } from "../../agent/wallet.ts";
import { withAgent } from "../agent.ts";
import type { Command } from "../command.ts";
import { CliError, usageError } from "../exit.ts";
import { parseUsdc, usdc } from "../money.ts";
import { utc } from "../output.ts";

export const channelsClose: Command = {
  path: "channels close",
  about: "Ask the seller to pay back what is left in a channel: at once and without gas",
  args: "[channel id]",
  positionals: [0, 1],
  takesIds: true,
  details: "For channels in the agent's storage; all of them with --all. What is charged already is claimed for the seller first. When the\nseller is gone or refuses: tallystick withdraw, which needs nobody's help.",
  needs: ["chain", "key", "state"],
  options: {
    amount: { type: "string", value: "usdc", about: "bring back this much of it; everything left when left out" },
    all: { type: "boolean", about: "every channel in the agent's storage" },
  },
  examples: [
    { about: "one channel", line: "tallystick channels close 0x9f3c…21" },
    { about: "everything home", line: "tallystick channels close --all --json" },
  ],
  async run(context, { values, positionals: [id] }) {
    if ((id === undefined) !== (values["all"] === true)) throw usageError("Name one channel, or give --all.", "tallystick channels list shows them.");
    if (id !== undefined && !(isHex(id) && id.length === 66)) throw usageError("A channel id is 32 bytes in hex.");
    const amount = typeof values["amount"] === "string" ? parseUsdc(values["amount"], "--amount") : undefined;
    if (amount !== undefined && id === undefined) throw usageError("--amount goes with one channel.");
    const done = await withAgent(context, {}, (agent) => agent.wallet.withdraw(id === undefined ? {} : { channelId: id as `0x${string}`, amount }).catch(explain));
    if (id !== undefined && done.length === 0) throw new CliError({ code: "channel_unknown", detail: "The agent's storage has no channel of that id.", hint: "tallystick withdraw finds it on chain." });
    return { json: { channels: done.map(json) }, text: done.length === 0 ? "The agent's storage has no channels." : done.map(describe).join("\n") };
  },
};

function explain(error: unknown): never {
  if (error instanceof TallystickError && error.code === "withdraw_needs_writer") {
    throw new CliError({ code: "seller_gives_nothing_back", detail: "The seller cannot be reached, or gives nothing back.", hint: "The chain does: tallystick withdraw" });
  }
  throw error;
}

function json(entry: Withdrawal): Record<string, unknown> {
  return Object.fromEntries(Object.entries(entry).map(([name, value]) => (name === "amount" ? ["amountAtomic", String(value)] : [name, value])));
}

function describe(entry: Withdrawal): string {
  const said = {
    refunded: () => `${usdc((entry as { amount: bigint }).amount)} USDC paid back`,
    withdrawing: () => `a withdrawal is under way, to be finished after ${utc((entry as { availableAt: number }).availableAt)}: tallystick withdraw`,
    withdrawn: () => `${usdc((entry as { amount: bigint }).amount)} USDC paid back`,
    empty: () => "nothing left in it",
  }[entry.state]();
  const transaction = "transaction" in entry && entry.transaction ? `\n  transaction ${entry.transaction}` : "";
  return `${entry.channelId}\n  ${said}${transaction}`;
}
