// tallystick withdraw: takes back what is left in a channel, from the chain alone. No relayer is asked.
import { getAddress, parseEventLogs, zeroAddress, type Hex, type LocalAccount } from "viem";
import { sessionChannelsAbi } from "../../abi/session-channels.ts";
import { reading, send, type Chain } from "../chain.ts";
import { channelsOf, discoverChannels, readConfigFile, readState, readStates, type Channel, type ChannelState } from "../channels.ts";
import type { Command, Input } from "../command.ts";
import type { Context } from "../context.ts";
import { findChannel } from "./channels.ts";
import { CliError, usageError } from "../exit.ts";
import { parseUsdc, usdc } from "../money.ts";
import { span, utc } from "../output.ts";
import { wholeNumber } from "../parse.ts";
import { storedConfigs } from "../storage.ts";

type Step = {
  channelId: Hex;
  action: "initiated" | "pending" | "finalized" | "cancelled" | "nothing";
  /** Of the withdrawal, atomic units; for `finalized`, what reached the payer. */
  amountAtomic: bigint;
  finalizeAfter?: bigint;
  transaction?: Hex;
};

export const withdraw: Command = {
  path: "withdraw",
  about: "Take back what is left in a channel, from the chain alone: works when the relayer is gone",
  args: "[channel id]",
  positionals: [0, 1],
  takesIds: true,
  details: `Starts a withdrawal, or ends one that is due; run it again after the deadline, or let it wait with --wait. The payer's key is
needed, and ether for gas. Until the deadline the seller can still claim what you signed, so what comes back is at most the rest.

Which channel: the id (looked up in the agent's storage, then in the contract's events), --config for a file with its terms
(a voucher file's line will do), or without either the one channel that you have; --all takes every one. A relayer that is
alive pays back at once and without gas: tallystick channels close.`,
  needs: ["chain", "key", "state"],
  options: {
    config: { type: "string", value: "file", about: "JSON with the channel's terms: the config, or an object that holds it as channelConfig" },
    amount: { type: "string", value: "usdc", about: "withdraw this much; all that is unclaimed when left out" },
    all: { type: "boolean", about: "every channel of this payer that holds something" },
    wait: { type: "boolean", about: "wait for the deadline and finish" },
    cancel: { type: "boolean", about: "call off the withdrawal under way (not on the canonical contract)" },
    "from-block": { type: "string", value: "n", about: "look for channels in events from this block on" },
  },
  examples: [
    { about: "the one channel you have: starts the withdrawal, says when it can be finished", line: "tallystick withdraw --rpc https://mainnet.base.org" },
    { about: "one channel, staying until the money is back", line: "tallystick withdraw 0x9f3c…21 --wait" },
    { about: "from a file with its terms, when nothing else is left", line: "tallystick withdraw --config channel.json --json" },
  ],
  async run(context, input) {
    const [chain, account] = [await context.chain(), await context.account()];
    const channels = await choose(context, chain, account, input);
    const steps: Step[] = [];
    for (const channel of channels) steps.push(await advance(context, chain, account, channel, input));
    return {
      json: { payer: account.address, channels: steps.map(stepJson) },
      text: steps.map(describe).join("\n"),
    };
  },
};

async function choose(context: Context, chain: Chain, account: LocalAccount, { values, positionals }: Input): Promise<ChannelState[]> {
  const candidates = (await candidateChannels(context, chain, account, values, positionals[0])).filter(({ config }) => isPayers(config, account));
  const states = await readStates(chain, candidates);
  if (positionals[0] !== undefined || typeof values["config"] === "string") {
    if (states.length === 0) throw new CliError({ code: "not_your_channel", exit: "usage", detail: `That channel is not one that ${account.address} may withdraw from.`, hint: "Its payer or payerAuthorizer has to sign." });
    return states;
  }
  const live = states.filter((state) => state.available > 0n || state.withdrawal !== undefined);
  if (live.length === 0) throw new CliError({ code: "no_channel", detail: `No channel of ${account.address} holds anything.`, hint: "Looked in the agent's storage and in the contract's events; --from-block looks further back." });
  if (live.length > 1 && values["all"] !== true) {
    const list = live.map((state) => `${state.id}  ${usdc(state.available)} USDC`).join("\n");
    throw usageError(`There are ${live.length} channels.`, `Name one, or give --all:\n${list}`, "several_channels");
  }
  return live;
}

async function candidateChannels(context: Context, chain: Chain, account: LocalAccount, values: Input["values"], id: string | undefined): Promise<Channel[]> {
  if (typeof values["config"] === "string") {
    const [channel] = channelsOf(chain, [await readConfigFile(values["config"])]);
    if (id !== undefined && channel!.id !== id.toLowerCase()) throw usageError("--config is not the terms of the channel with that id on this chain and contract.", undefined, "channel_config_invalid");
    return [channel!];
  }
  if (id !== undefined) return [await findChannel(context, chain, id, values["from-block"])];
  const stored = channelsOf(chain, await storedConfigs(context.settings.stateDir, chain.domain));
  const fromBlock = wholeNumber("from-block", values["from-block"], 0, Number.MAX_SAFE_INTEGER);
  const { channels } = await discoverChannels(chain, {
    payer: account.address,
    fromBlock: fromBlock === undefined ? undefined : BigInt(fromBlock),
    signal: context.signal,
    onProgress: (done) => context.output.progress(`looking for channels in the contract's events … ${done} %`),
  });
  return channelsOf(chain, [...stored, ...channels].map(({ config }) => config));
}

function isPayers({ payer, payerAuthorizer }: Channel["config"], { address }: LocalAccount): boolean {
  return payer === getAddress(address) || (payerAuthorizer !== zeroAddress && payerAuthorizer === getAddress(address));
}

/** One channel, as far as it can go now. */
async function advance(context: Context, chain: Chain, account: LocalAccount, channel: ChannelState, { values }: Input): Promise<Step> {
  if (values["cancel"] === true) return cancel(context, chain, account, channel);
  let state = channel;
  let started: Step | undefined;
  if (state.withdrawal === undefined) {
    if (state.available === 0n) return { channelId: state.id, action: "nothing", amountAtomic: 0n };
    started = await initiate(context, chain, account, state, values["amount"]);
    state = await readState(chain, channel);
  } else if (values["amount"] !== undefined) {
    throw new CliError({ code: "withdrawal_pending", exit: "usage", detail: `A withdrawal of ${usdc(state.withdrawal.amount)} USDC is under way already; --amount cannot change it.`, hint: "Finish it first: tallystick withdraw" });
  }
  const { withdrawal } = state;
  if (withdrawal === undefined) return started!; // somebody else was faster
  if (values["wait"] === true) await waitUntil(context, chain, withdrawal.finalizeAfter);
  if ((await chainTime(chain)) < withdrawal.finalizeAfter) return started ?? { channelId: state.id, action: "pending", amountAtomic: withdrawal.amount, finalizeAfter: withdrawal.finalizeAfter };
  return finalize(context, chain, account, state);
}

async function initiate(context: Context, chain: Chain, account: LocalAccount, state: ChannelState, wanted: unknown): Promise<Step> {
  const amount = typeof wanted === "string" ? parseUsdc(wanted, "--amount") : state.available;
  if (amount === 0n || amount > state.available) throw usageError(`--amount must be more than 0 and at most the ${usdc(state.available)} USDC that nobody has claimed.`, undefined, "amount_out_of_range");
  const receipt = await send(chain, account, { functionName: "initiateWithdraw", args: [state.config, amount] }, sent(context, "starting the withdrawal"));
  const { withdrawal } = await readState(chain, state);
  return { channelId: state.id, action: "initiated", amountAtomic: amount, finalizeAfter: withdrawal?.finalizeAfter, transaction: receipt.transactionHash };
}

async function finalize(context: Context, chain: Chain, account: LocalAccount, state: ChannelState): Promise<Step> {
  const receipt = await send(chain, account, { functionName: "finalizeWithdraw", args: [state.config] }, sent(context, "finishing the withdrawal"));
  const [event] = parseEventLogs({ abi: sessionChannelsAbi, eventName: "WithdrawFinalized", logs: receipt.logs });
  return { channelId: state.id, action: "finalized", amountAtomic: event?.args.amount ?? 0n, transaction: receipt.transactionHash };
}

async function cancel(context: Context, chain: Chain, account: LocalAccount, state: ChannelState): Promise<Step> {
  if (state.withdrawal === undefined) return { channelId: state.id, action: "nothing", amountAtomic: 0n };
  const receipt = await send(chain, account, { functionName: "cancelWithdraw", args: [state.config] }, sent(context, "calling the withdrawal off"));
  return { channelId: state.id, action: "cancelled", amountAtomic: state.withdrawal.amount, transaction: receipt.transactionHash };
}

function sent(context: Context, what: string): (hash: Hex) => void {
  return (hash) => context.output.progress(`${what}: ${hash}`);
}

/** The contract goes by the chain's clock, not by ours. */
async function chainTime({ client }: Chain): Promise<bigint> {
  return (await reading(() => client.getBlock())).timestamp;
}

const LOOK_EVERY_MS = 2_000;

async function waitUntil(context: Context, chain: Chain, deadline: bigint): Promise<void> {
  for (;;) {
    context.signal.throwIfAborted();
    const left = deadline - (await chainTime(chain));
    if (left <= 0n) return;
    context.output.progress(`the withdrawal can be finished in ${span(Number(left))} (${utc(deadline)})`);
    await new Promise((done) => setTimeout(done, LOOK_EVERY_MS));
  }
}

function stepJson({ channelId, action, amountAtomic, finalizeAfter, transaction }: Step): Record<string, unknown> {
  return { channelId, action, amountAtomic: amountAtomic.toString(), ...(finalizeAfter === undefined ? {} : { finalizeAfter: finalizeAfter.toString() }), ...(transaction === undefined ? {} : { transaction }) };
}

function describe({ channelId, action, amountAtomic, finalizeAfter, transaction }: Step): string {
  const amount = `${usdc(amountAtomic)} USDC`;
  const due = finalizeAfter === undefined ? "" : utc(finalizeAfter);
  const said = {
    initiated: `withdrawal of ${amount} started; finish it with the same command after ${due}`,
    pending: `withdrawal of ${amount} under way; finish it with the same command after ${due}`,
    finalized: `${amount} paid back`,
    cancelled: `withdrawal of ${amount} called off`,
    nothing: "nothing to withdraw",
  }[action];
  return `${channelId}\n  ${said}${transaction === undefined ? "" : `\n  transaction ${transaction}`}`;
}
