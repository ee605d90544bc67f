// A payment's status and its story, for its parties.
import { isAddressEqual, type Address } from "viem";
import type { Deps } from "../../deps.ts";
import { answerDeleted } from "../answers/service.ts";
import { deleteAnswer, deletedAt } from "../answers/store.ts";
import { rejectionOf, type StoredEvent as Refusal } from "../firewall/event-store.ts";
import { findAnswer } from "../ledger/answer-store.ts";
import type { Answer } from "../ledger/types.ts";
import { notYours, receiptFor, type ReceiptDeps } from "../receipts/service.ts";
import { statusOf, storyOfRefusal, type Status } from "./logic.ts";
import { claimsCovering, findCarrier, findStories, findStory, listStories, partiesOf, refusalsOf, type Carrier, type PaymentStory } from "./store.ts";

export type PaymentDeps = ReceiptDeps & Pick<Deps, "db" | "vault">;
export type Told = { story: PaymentStory; status: Status; /** The firewall refused it, so that nothing was ever reserved. */ refusal?: Refusal };

/** @throws TallystickError 404 for a payment that the caller has no part in. */
export async function paymentFor(deps: PaymentDeps, paymentId: string, caller: Address): Promise<Told> {
  const story = await findStory(deps.db, paymentId);
  if (story === undefined) return refusedFor(deps, paymentId, caller);
  const parties = await partiesOf(deps.db, paymentId);
  if (parties?.some((party) => isAddressEqual(party, caller)) !== true) throw notYours("payment");
  return told(deps, story);
}

/** What became of payments, whoever asks; unknown ones are left out. */
export async function statusesOf(deps: Pick<Deps, "db">, paymentIds: readonly string[]): Promise<Map<string, Told>> {
  const stories = await findStories(deps.db, paymentIds);
  return new Map(await Promise.all(stories.map(async (story): Promise<[string, Told]> => [story.paymentId, await told(deps, story)])));
}

async function told(deps: Pick<Deps, "db">, story: PaymentStory): Promise<Told> {
  return { story, status: statusOf(story, await carriersOf(deps, story)) };
}

/** One that no row was made of: its money never moved, and the firewall says why. */
async function refusedFor({ db }: PaymentDeps, paymentId: string, caller: Address): Promise<Told> {
  const refusal = await rejectionOf(db, paymentId, caller);
  if (refusal === undefined) throw notYours("payment");
  const story = storyOfRefusal(refusal);
  return { story, status: statusOf(story, []), refusal };
}

export async function paymentsOf(deps: PaymentDeps, caller: Address, before: Date | undefined, limit: number): Promise<Told[]> {
  const stories = await listStories(deps.db, caller, before, limit);
  return Promise.all(stories.map((story) => told(deps, story)));
}

/** What was bought, as long as it is kept. @throws 404 when there is none, 410 `answer_deleted` when its buyer had it deleted. */
export async function answerFor(deps: PaymentDeps, paymentId: string, caller: Address): Promise<Answer> {
  const { story } = await paymentFor(deps, paymentId, caller);
  const gone = await deletedAt(deps.db, paymentId);
  if (gone !== undefined) throw answerDeleted(gone);
  // The seller has it already; only the buyer's side is handed the answer, and only once it is paid.
  const answer = story.state === "charged" && !isAddressEqual(story.receiver, caller) ? await findAnswer(deps, paymentId) : undefined;
  if (answer === undefined) throw notYours("answer");
  return answer;
}

/** Has the answer's bytes deleted, for its buyer; payment and receipt stay. Twice is once. @throws 404 when there is none, or it is not the caller's. */
export async function forgetAnswer(deps: PaymentDeps, paymentId: string, caller: Address): Promise<void> {
  const { story } = await paymentFor(deps, paymentId, caller);
  // Before it is paid it is withheld, and the buyer has yet to get it.
  if (story.state !== "charged" || isAddressEqual(story.receiver, caller)) throw notYours("answer");
  if (!(await deleteAnswer(deps.db, paymentId)) && (await deletedAt(deps.db, paymentId)) === undefined) throw notYours("answer");
}

async function carriersOf({ db }: Pick<Deps, "db">, { channelId, cumulative, settledTx }: PaymentStory): Promise<Carrier[]> {
  if (channelId !== undefined) return cumulative === undefined ? [] : claimsCovering(db, channelId, cumulative);
  const carrier = settledTx === undefined ? undefined : await findCarrier(db, settledTx);
  return carrier === undefined ? [] : [carrier];
}

export type Step = { name: string; at?: string; [fact: string]: unknown };

/** The whole way of a payment, step by step, in order; a step that has not happened says so in `pending`. */
export async function traceOf(deps: PaymentDeps, paymentId: string, caller: Address): Promise<{ paymentId: string; status: Status; steps: Step[] }> {
  const { story, status, refusal } = await paymentFor(deps, paymentId, caller);
  if (refusal !== undefined) return { paymentId, status, steps: await refusedSteps(deps, story, status) };
  const [refusals, receipt, carriers] = await Promise.all([refusalsOf(deps.db, paymentId), receiptFor(deps, paymentId, caller), carriersOf(deps, story)]);
  const steps: Step[] = [
    offer(story),
    ...refusals.map(({ at, code, detail }) => ({ name: "refused", ...when(at), code, ...detail })),
    { name: "decision", ...when(story.reservedAt), decision: "reserved", service: story.service, payer: story.payer },
    proof(story),
    ...(story.startedAt === undefined ? [] : [{ name: "upstream", ...when(story.startedAt), latencyMs: Number(story.endedAt!) - Number(story.startedAt) }]),
    charge(story),
    receipt === undefined ? { name: "receipt", pending: "none yet" } : { name: "receipt", receiptHash: receipt.receiptHash, signer: receipt.receipt.signer, acknowledged: receipt.ack !== undefined },
    ...carriers.map(carrierStep),
    { name: "status", status: status.status, detail: status.detail, ...("transaction" in status && status.transaction !== undefined ? { transaction: status.transaction } : {}) },
  ];
  return { paymentId, status, steps };
}

async function refusedSteps({ db }: PaymentDeps, story: PaymentStory, status: Status): Promise<Step[]> {
  const refusals = await refusalsOf(db, story.paymentId);
  return [
    offer(story),
    ...refusals.map(({ at, code, detail }) => ({ name: "refused", ...when(at), code, ...detail })),
    { name: "status", status: status.status, detail: status.detail },
  ];
}

const when = (at: Date | undefined): { at?: string } => (at === undefined ? {} : { at: at.toISOString() });

/** The time of the 402 is in the id it handed out; see payment-id.ts. Ids that buyers made up may say anything sensible. */
function offeredAt(paymentId: string): Date | undefined {
  const ms = Number.parseInt(paymentId.slice("pay_".length, "pay_".length + 12), 16);
  return ms > 1.6e12 && ms < 4e12 ? new Date(ms) : undefined;
}

function offer({ paymentId, resource, price, scheme, receiver }: PaymentStory): Step {
  return { name: "offer (402)", ...when(offeredAt(paymentId)), resource, priceAtomic: String(price), scheme, receiver };
}

function proof({ channelId, ceiling, depositTx, authorizationNonce }: PaymentStory): Step {
  if (channelId === undefined) return { name: "authorization", nonce: authorizationNonce };
  return { name: "voucher", channelId, ceilingAtomic: String(ceiling), ...(depositTx === undefined ? {} : { depositTransaction: depositTx }) };
}

function charge({ state, resolvedAt, releaseReason, charged, cumulative, requestNumber }: PaymentStory): Step {
  if (state === "released") return { name: "charge", ...when(resolvedAt), charged: "nothing", reason: releaseReason };
  if (state !== "charged") return { name: "charge", pending: state };
  return { name: "charge", ...when(resolvedAt), chargedAtomic: String(charged), cumulativeAtomic: String(cumulative), ...(requestNumber === undefined ? {} : { requestNumber: String(requestNumber) }) };
}

function carrierStep({ hash, state, purpose, blockNumber, gasUsed, createdAt, batchId, rowState, reason }: Carrier): Step {
  return {
    name: purpose === "claim" ? "settlement" : "transaction", ...when(createdAt), transaction: hash, state, purpose, ...(batchId === undefined ? {} : { batch: String(batchId) }), ...(rowState === undefined ? {} : { row: rowState }),
    ...(reason === undefined ? {} : { reason }), ...(blockNumber === undefined ? {} : { block: String(blockNumber) }), ...(gasUsed === undefined ? {} : { gasUsed: String(gasUsed) }),
  };
}
