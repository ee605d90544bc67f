// tallystick channels list|show: what a payer's channels hold, read from the chain. close is in channels-close.ts.
import { isHex, type Hex } from "viem";
import type { Chain } from "../chain.ts";
import { channelsOf, discoverChannels, readState, readStates, type Channel, type ChannelState } from "../channels.ts";
import type { Command, Outcome } from "../command.ts";
import type { Context } from "../context.ts";
import { CliError, usageError } from "../exit.ts";
import { usdc } from "../money.ts";
import { columns, span, utc } from "../output.ts";
import { wholeNumber } from "../parse.ts";
import { storedConfigs } from "../storage.ts";

const FROM_BLOCK = { "from-block": { type: "string", value: "n", about: "read events from this block on; the deployment's first, or the last 400,000, when left out" } } as const;

export const channelsList: Command = {
  path: "channels list",
  about: "List your channels: what they hold, what is claimed, withdrawals under way",
  positionals: [0, 0],
  details: "Channels come from the agent's storage. --discover also reads the contract's events, for channels that the storage does not\nknow. The numbers are the chain's: what the seller has charged and not claimed yet is not in them.",
  needs: ["chain", "key", "state"],
  options: { discover: { type: "boolean", about: "look in the contract's events too" }, ...FROM_BLOCK },
  examples: [
    { about: "those that the agent knows", line: "tallystick channels list --rpc https://mainnet.base.org" },
    { about: "after the storage was lost", line: "tallystick channels list --discover --json" },
  ],
  async run(context, { values }) {
    const chain = await context.chain();
    const stored = channelsOf(chain, await storedConfigs(context.settings.stateDir, chain.domain));
    const discovered = values["discover"] === true || values["from-block"] !== undefined ? await discover(context, chain, values["from-block"]) : [];
    const known = await readStates(chain, channelsOf(chain, [...stored, ...discovered].map(({ config }) => config)));
    // The agent writes a channel down before its first deposit; one that was never made is none.
    const states = known.filter(({ balance, totalClaimed, withdrawal }) => balance > 0n || totalClaimed > 0n || withdrawal !== undefined);
    const looked = discovered.length > 0 || values["discover"] === true;
    return { json: { channels: states.map(stateJson) }, text: states.length > 0 ? table(states) : `No channels${looked ? "." : " in the agent's storage; --discover looks in the contract's events."}` };
  },
};

async function discover(context: Context, chain: Chain, fromBlock: unknown): Promise<Channel[]> {
  const { address } = await context.account();
  const first = wholeNumber("from-block", fromBlock, 0, Number.MAX_SAFE_INTEGER);
  const found = await discoverChannels(chain, {
    payer: address,
    fromBlock: first === undefined ? undefined : BigInt(first),
    signal: context.signal,
    onProgress: (done) => context.output.progress(`reading the contract's events … ${done} %`),
  });
  return found.channels;
}

function table(states: readonly ChannelState[]): string {
  const rows = states.map((state) => [state.id, usdc(state.balance), usdc(state.totalClaimed), usdc(state.available), withdrawalOf(state)]);
  return columns([["channel", "balance", "claimed", "left", "withdrawal"], ...rows], { right: [1, 2, 3] });
}

function withdrawalOf({ withdrawal }: ChannelState): string {
  return withdrawal === undefined ? "none" : `${usdc(withdrawal.amount)} from ${utc(withdrawal.finalizeAfter)}`;
}

export function stateJson({ id, config, balance, totalClaimed, available, withdrawal }: ChannelState): Record<string, unknown> {
  return {
    channelId: id,
    channelConfig: config,
    balanceAtomic: balance.toString(),
    totalClaimedAtomic: totalClaimed.toString(),
    availableAtomic: available.toString(),
    withdrawal: withdrawal === undefined ? null : { amountAtomic: withdrawal.amount.toString(), initiatedAt: withdrawal.initiatedAt.toString(), finalizeAfter: withdrawal.finalizeAfter.toString() },
  };
}

export const channelsShow: Command = {
  path: "channels show",
  about: "Show one channel: its terms and its state",
  args: "<channel id>",
  positionals: [1, 1],
  takesIds: true,
  details: "Anybody may look: terms and state are public. The terms come from the agent's storage or from the contract's events. The\nJSON holds them as channelConfig: kept in a file, withdraw --config needs nothing else.",
  needs: ["chain", "state"],
  options: FROM_BLOCK,
  examples: [
    { about: "terms, balance, withdrawal", line: "tallystick channels show 0x9f3c…21" },
    { about: "keep the terms in a safe place", line: "tallystick channels show 0x9f3c…21 --json > channel.json" },
  ],
  async run(context, { values, positionals }): Promise<Outcome> {
    const chain = await context.chain();
    const channel = await findChannel(context, chain, positionals[0]!, values["from-block"]);
    const state = await readState(chain, channel);
    const { config } = state;
    const rows: [string, string][] = [
      ["channel", state.id],
      ["payer", config.payer],
      ["signs vouchers", config.payerAuthorizer],
      ["receiver", config.receiver],
      ["claims, refunds", config.receiverAuthorizer],
      ["token", config.token],
      ["withdraw delay", span(config.withdrawDelay)],
      ["balance", `${usdc(state.balance)} USDC`],
      ["claimed", `${usdc(state.totalClaimed)} USDC`],
      ["left", `${usdc(state.available)} USDC`],
      ["withdrawal", withdrawalOf(state)],
    ];
    return { json: stateJson(state), text: columns(rows) };
  },
};

/** By id: in the agent's storage, then in the contract's events. @throws CliError `channel_unknown` */
export async function findChannel(context: Context, chain: Chain, id: string, fromBlock: unknown): Promise<Channel> {
  if (!isHex(id) || id.length !== 66) throw usageError("A channel id is 32 bytes in hex, with 0x before them.");
  const wanted = id.toLowerCase() as Hex;
  const stored = channelsOf(chain, await storedConfigs(context.settings.stateDir, chain.domain)).find((channel) => channel.id === wanted);
  if (stored !== undefined) return stored;
  const first = wholeNumber("from-block", fromBlock, 0, Number.MAX_SAFE_INTEGER);
  const { channels } = await discoverChannels(chain, {
    channelId: wanted,
    fromBlock: first === undefined ? undefined : BigInt(first),
    signal: context.signal,
    onProgress: (done) => context.output.progress(`looking for the channel in the contract's events … ${done} %`),
  });
  if (channels[0] !== undefined) return channels[0];
  throw new CliError({ code: "channel_unknown", detail: "No channel of that id was found.", hint: "--from-block looks further back; withdraw takes its terms with --config." });
}
