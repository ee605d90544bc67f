// Channels as the rest of the relayer uses them: read, open, top up, refund. Only what the chain confirmed enters a row.
import type { Hex } from "viem";
import { setTimeout as sleep } from "node:timers/promises";
import { TallystickError } from "../../../../sdk/src/errors.ts";
import { channelIdOf, sessionChannelsDomain, type ChannelConfig } from "../../../../sdk/src/typed-data.ts";
import { headOf, isRevert } from "../../chain/client.ts";
import type { Deps } from "../../deps.ts";
import { EVENT } from "../../telemetry/log.ts";
import { readView, readViewFrom } from "./chain-view.ts";
import {
  checkAuthorization, checkChannelTerms, checkErc3009Deposit, checkTerms, depositCalldata, depositNonce, depositRefusal, findExternalDeposit, readFacts, type DepositRequest, type Erc3009Request,
} from "./deposit-check.ts";
import { checkMandateCollector, checkMandateDeposit, isMandateDeposit, mandateDepositCalldata, mandateDepositKey, mandateDepositRefusal, type MandateDepositRequest } from "./mandate-deposit.ts";
import { DepositTaken, findDeposit, insertDeposit, type DepositKey, type DepositRow } from "./deposit-store.ts";
import { paymentFault, stillPending } from "./faults.ts";
import { depositSteps } from "./logic.ts";
import { findChannel, takeInChannel, unknownChannel, type Channel, type ChainView } from "./store.ts";

export { readView } from "./chain-view.ts";
export { refundChannel } from "./refund.ts";
export type { DepositRequest } from "./deposit-check.ts";

/** A deposit takes some 115k; this leaves room for wallets that check passkeys, and none for those that burn what others pay. */
const MOST_DEPOSIT_GAS = 600_000n;

export type ChannelDeps = Pick<Deps, "config" | "db" | "chain" | "keyring" | "submitter" | "log" | "now" | "reached">;

/** How long a buyer's request waits for its deposit before it is told to come back. */
const DEPOSIT_WAIT_MS = 30_000;

/**
 * Takes in a channel that was opened without us.
 * @throws `channel_not_found` (402) when the chain holds nothing for it; `deposit_pending` (503, safe) while its deposit is not deep enough;
 * `chain_unavailable` (503).
 */
export async function openChannel(deps: ChannelDeps, config: ChannelConfig): Promise<Channel> {
  const channelId = channelIdOf(sessionChannelsDomain(deps.config.chainId, deps.config.sessionChannels), config);
  const view = (await readView(deps, [channelId])).get(channelId)!;
  const { balance, pending } = unknownChannel(channelId, config, view);
  if (balance === 0n && pending > 0n) throw tooYoung(deps, pending);
  if (balance === 0n) {
    throw paymentFault("channel_not_found", "payload.voucher.channelId", `The chain holds no deposit for channel ${channelId}.`, { retry: "safe" });
  }
  return storeChannel(deps, channelId, config, view);
}

/** The channel as we know it, or, for one that we have forgotten or never knew, as the chain has it. @throws `chain_unavailable` (503). */
export async function findOrTakeIn(deps: ChannelDeps, config: ChannelConfig, channelId: Hex): Promise<Channel> {
  return (await findChannel(deps.db, channelId)) ?? openChannel(deps, config);
}

/** What the chain says of one channel now. @throws `chain_unavailable` (503). */
export async function readOne(deps: ChannelDeps, channelId: Hex): Promise<ChainView> {
  return (await readView(deps, [channelId])).get(channelId)!;
}

/** A deposit that is on the chain, confirmed; txHash is of whoever sent it. */
export type CarriedDeposit = { channel: Channel; txHash: Hex };

/**
 * Brings a buyer's ERC-3009 deposit to the chain, once, and waits until it counts. The same request again, at any time and
 * in any process, finds the transaction instead of sending another.
 * @throws a payment fault (402) that names the field; `deposit_pending` (503, safe) with the hash when the chain is slow;
 * `chain_unavailable` (503, safe).
 */
export async function carryDeposit(deps: ChannelDeps, request: DepositRequest): Promise<CarriedDeposit> {
  return isMandateDeposit(request) ? carryMandateDeposit(deps, request) : carryErc3009Deposit(deps, request as Erc3009Request);
}

/** What can be known of a deposit before it is sent. @throws a payment fault (402) that names the field; `chain_unavailable`. */
export async function checkDeposit(deps: Omit<ChannelDeps, "db" | "log" | "reached">, request: DepositRequest): Promise<void> {
  if (!isMandateDeposit(request)) return checkErc3009Deposit(deps, request as Erc3009Request);
  checkChannelTerms(deps, request);
  checkMandateCollector(deps, request);
  await checkMandateDeposit(deps, request);
}

/** Under a mandate the simulation is the whole check: the registry knows the signatures, the limits and the nonce. */
async function carryMandateDeposit(deps: ChannelDeps, request: MandateDepositRequest): Promise<CarriedDeposit> {
  const key: DepositKey = { token: request.config.token, payer: request.config.payer, nonce: mandateDepositKey(request) };
  const known = await liveDeposit(deps, key);
  if (known !== undefined) return finishDeposit(deps, request, known);
  checkChannelTerms(deps, request);
  checkMandateCollector(deps, request);
  return finishDeposit(deps, request, await sendDeposit(deps, request, key, mandateDepositCalldata(request)));
}

async function carryErc3009Deposit(deps: ChannelDeps, request: Erc3009Request): Promise<CarriedDeposit> {
  const nonce = depositNonce(request.channelId, request.authorization.salt);
  const key: DepositKey = { token: request.config.token, payer: request.config.payer, nonce };
  const known = await liveDeposit(deps, key);
  if (known !== undefined) return finishDeposit(deps, request, known);

  checkTerms(deps, request);
  const facts = await readFacts(deps, request, nonce);
  if (facts.authorizationUsed) return adoptDeposit(deps, request, key);
  const signature = await checkAuthorization(deps, request, nonce, facts);
  return finishDeposit(deps, request, await sendDeposit(deps, request, key, depositCalldata(deps, request, signature)));
}

/** Our own transaction for this authorisation, unless it failed for good: then the authorisation is still unused. */
async function liveDeposit(deps: ChannelDeps, key: DepositKey): Promise<DepositRow | undefined> {
  const row = await findDeposit(deps.db, key);
  return row === undefined || row.txState === "reverted" || row.txState === "dropped" ? undefined : row;
}

async function sendDeposit(deps: ChannelDeps, request: DepositRequest, key: DepositKey, data: Hex): Promise<DepositRow> {
  const { channelId, amount, paymentId } = request;
  try {
    // The submitter simulates this very call before it takes a nonce.
    const { txId, hash } = await deps.submitter.submit({
      purpose: "deposit", to: deps.config.sessionChannels, data, paymentId, mostGas: MOST_DEPOSIT_GAS,
      record: (client, newTxId) => insertDeposit(client, key, { channelId, amount, txId: newTxId }),
    });
    deps.log.info({ event: EVENT.depositSent, channelId, amount: String(amount), txHash: hash, paymentId });
    return { channelId, amount, txId, txHash: hash, txState: "signed" };
  } catch (error) {
    // An identical request may have been faster: then the simulation finds the authorisation used, or its row is there.
    const known = await liveDeposit(deps, key);
    if (known !== undefined) return known;
    if (isRevert(error)) throw isMandateDeposit(request) ? mandateDepositRefusal(error) : depositRefusal(error, request);
    if (error instanceof TallystickError && error.code === "transaction_too_expensive") throw paymentFault("deposit_refused", "payload.deposit", `${error.message} The payer's wallet makes it so.`, { cause: error });
    if (error instanceof DepositTaken) throw new TallystickError({ code: "deposit_contended", status: 503, retry: "safe", detail: "The deposit is being sent by another request.", cause: error });
    throw error;
  }
}

async function finishDeposit(deps: ChannelDeps, request: DepositRequest, row: DepositRow): Promise<CarriedDeposit> {
  if (row.amount !== request.amount) {
    throw paymentFault("deposit_authorization_used", "payload.deposit.amount", `This authorisation's salt was already used for a deposit of ${row.amount}, not ${request.amount}.`);
  }
  const deadline = performance.now() + DEPOSIT_WAIT_MS;
  const outcome = await deps.submitter.wait(row.txId, DEPOSIT_WAIT_MS);
  switch (outcome.status) {
    case "pending":
      throw stillPending("deposit_pending", outcome.hash);
    case "dropped":
      throw new TallystickError({ code: "deposit_dropped", status: 503, retry: "safe", detail: "The deposit's transaction was displaced; repeat the same request.", extra: { txHash: outcome.hash } });
    case "reverted":
      throw paymentFault("deposit_reverted", "payload.deposit", `Transaction ${outcome.hash} was refused by the chain; the authorisation is unused.`, { retry: "safe", extra: { txHash: outcome.hash } });
    case "confirmed":
      return takeDeposit(deps, request, { txHash: outcome.hash, blockNumber: outcome.receipt.blockNumber }, deadline);
  }
}

/** The authorisation is used, but not by us. If it funded this very channel, that is what was asked for. */
async function adoptDeposit(deps: ChannelDeps, request: Erc3009Request, key: DepositKey): Promise<CarriedDeposit> {
  const known = await liveDeposit(deps, key);
  if (known !== undefined) return finishDeposit(deps, request, known);
  const external = await findExternalDeposit(deps, request, key.nonce);
  if (external !== undefined) return takeDeposit(deps, request, external, performance.now() + DEPOSIT_WAIT_MS);
  const field = "payload.deposit.authorization.erc3009Authorization.salt";
  throw paymentFault("deposit_authorization_used", field, "The authorisation was used or cancelled, and did not fund this channel.");
}

/** Takes the deposit in when it is deep enough for its amount, and for what else its payer has put in lately. */
async function takeDeposit(deps: ChannelDeps, request: DepositRequest, { txHash, blockNumber }: { txHash: Hex; blockNumber: bigint }, deadline: number): Promise<CarriedDeposit> {
  const { channelId, config, amount, paymentId } = request;
  for (;;) {
    const view = (await readViewFrom(deps, [channelId], blockNumber)).get(channelId)!;
    // A channel under somebody else's key is not ours to keep books of.
    const channel = deps.keyring.has(config.receiverAuthorizer) ? await storeChannel(deps, channelId, config, view) : unknownChannel(channelId, config, view);
    if (channel.pending === 0n || channel.countedBlock >= blockNumber) {
      deps.log.info({ event: EVENT.depositConfirmed, channelId, amount: String(amount), txHash, block: String(blockNumber), paymentId });
      return { channel, txHash };
    }
    if (performance.now() + deps.config.chainPollMs > deadline) throw tooYoung(deps, channel.pending, { txHash, confirmations: Number((await headOf(deps.chain)) - blockNumber + 1n) });
    await sleep(deps.config.chainPollMs);
  }
}

/** On the chain, and not deep enough for what it is worth: the same request again, a few blocks later, is served. */
function tooYoung({ config }: Pick<Deps, "config">, pending: bigint, deposit: { txHash?: Hex; confirmations?: number } = {}): TallystickError {
  const needed = Math.max(...depositSteps(config.depositConfirmations, config.confirmations).map(({ depth }) => depth));
  return new TallystickError({
    code: "deposit_pending", status: 503, retry: "safe", extra: { ...deposit, pendingAtomic: String(pending), needed, retryAfterS: 2 },
    detail: `Deposits of ${pending} are on the chain and not deep enough to count; at ${needed} blocks any amount does. Repeat the same request.`,
  });
}

async function storeChannel({ db, reached }: Pick<ChannelDeps, "db" | "reached">, channelId: Hex, config: ChannelConfig, view: ChainView): Promise<Channel> {
  await takeInChannel(db, channelId, config, view);
  reached("channel.inserted");
  return (await findChannel(db, channelId))!;
}
