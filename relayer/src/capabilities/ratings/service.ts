// Ratings of who paid, taken to the registry at this relayer's expense: each signature once, so many of one rater and of all in a day. The
// contract decides whether a rating counts; here it is only kept from costing gas for nothing.
import { encodeFunctionData, type Hex } from "viem";
import { bazaarRegistryAbi as abi } from "../../../../sdk/src/abi/bazaar-registry.ts";
import { bazaarRegistryDomain, offerHashOf } from "../../../../sdk/src/bazaar.ts";
import { rateServiceDigest, type Rating } from "../../../../sdk/src/bazaar-messages.ts";
import { keyFrom } from "../../../../sdk/src/bazaar/terms.ts";
import { TallystickError } from "../../../../sdk/src/errors.ts";
import { readChain } from "../../chain/client.ts";
import { EVENT } from "../../telemetry/log.ts";
import { registryError } from "../agents/chain-view.ts";
import { listingOf } from "../agents/service.ts";
import type { Listing } from "../agents/store.ts";
import { findTerms } from "../agents/terms-store.ts";
import type { GatewayDeps } from "../gateway/rail.ts";
import { isSignedBy } from "../mandates/signatures.ts";
import { proofOf, refusal, type PaidBy, type Proof, type RateCall } from "./proof.ts";
import { countSent, findSent, insertSent, lockRatings } from "./store.ts";

/** Of one rater, and of all, in 24 hours; whoever wants more sends them itself. */
const MOST_OF_RATER = 20;
const MOST_IN_ALL = 2_000;
const MOST_GAS = 300_000n;
const MOST_DEADLINE_S = 86_400n;
const MOST_SIGNATURE_BYTES = 4_096;
const SIGN_WITHIN_S = 3_600n;
const WAIT_MS = 15_000;

export type Wish = { paidBy: PaidBy; score: number; details: Hex; claimed?: bigint; deadline?: bigint; signature?: Hex };
export type Rated = { rating: Rating; sent: { hash: Hex; status: "confirmed" | "pending" } | undefined };

/**
 * Without a signature: what the payer has to sign. With one: sends it.
 * @throws TallystickError 404 `listing_unknown`, `channel_unknown`, `job_unknown`; 403 `signature_invalid`, `signature_expired`; 409 `payment_unclaimed`, `job_not_over` (safe), `job_not_paid`, `rating_refused`; 429 `rating_quota`; 503.
 */
export async function rate(deps: GatewayDeps, id: string, wish: Wish): Promise<Rated> {
  const listing = await listingOf(deps, id);
  const proof = await proofOf(deps, wish.paidBy, wish.claimed);
  const nowS = BigInt(Math.floor(deps.now().getTime() / 1_000));
  const rating: Rating = { serviceId: listing.serviceId, source: proof.source, claimed: proof.claimed, score: wish.score, details: wish.details, forward: false, deadline: wish.deadline ?? nowS + SIGN_WITHIN_S };
  if (wish.signature === undefined) return { rating, sent: undefined };
  if (rating.deadline < nowS || rating.deadline > nowS + MOST_DEADLINE_S) throw refusal("signature_expired", 403, "The deadline is past, or more than a day away.", "deadline");
  return { rating, sent: await send(deps, listing, proof, rating, wish.signature) };
}

async function send(deps: GatewayDeps, listing: Listing, proof: Proof, rating: Rating, signature: Hex): Promise<Rated["sent"]> {
  const digest = rateServiceDigest(bazaarRegistryDomain(deps.config.chainId, deps.config.bazaar.registry), rating);
  const before = await findSent(deps.db, digest);
  if (before !== undefined && !["reverted", "dropped"].includes(before.state)) return outcome(deps, before.txId, before.hash);
  const fits = signature.length <= 2 + 2 * MOST_SIGNATURE_BYTES;
  if (!fits || !(await isSignedBy(deps, proof.payer, digest, signature))) throw refusal("signature_invalid", 403, `It is not signed by ${proof.payer}, who paid.`, "signature");
  await checkQuota(deps, proof.payer);
  const call = await callOf(deps, listing, proof, rating, signature);
  await rehearse(deps, call);
  const { txId, hash } = await deps.submitter.submit({
    purpose: "listing", to: deps.config.bazaar.registry, data: encodeFunctionData({ abi, ...call }), mostGas: MOST_GAS,
    async record(client, id) {
      await lockRatings(client);
      await checkQuota({ db: client }, proof.payer);
      if (!(await insertSent(client, digest, listing.serviceId, proof.payer, id))) throw refusal("rating_under_way", 409, "This signature is being sent by another request.");
    },
  });
  deps.log.info({ event: EVENT.listingSent, serviceId: listing.serviceId, act: "rate", hash }, "sent to the registry");
  return outcome(deps, txId, hash);
}

async function callOf({ db }: GatewayDeps, listing: Listing, proof: Proof, { score, details, forward, deadline }: Rating, signature: Hex): Promise<RateCall> {
  const terms = await findTerms(db, listing.serviceId, listing.termsHash);
  if (terms === undefined) throw refusal("terms_unknown", 409, "The terms that stand on chain are not known here; the payer can send the rating itself.");
  return proof.call(keyFrom(listing), offerHashOf(terms.offer), { score, details, forward, deadline, signature });
}

/** The registry's own refusal, by its name, before anything is spent. */
async function rehearse(deps: GatewayDeps, call: RateCall): Promise<void> {
  const { client } = deps.chain;
  const at = { address: deps.config.bazaar.registry, abi, account: deps.submitter.address } as const;
  try {
    await readChain<unknown>(() => (call.functionName === "rateJob" ? client.simulateContract({ ...at, ...call }) : client.simulateContract({ ...at, ...call })));
  } catch (error) {
    const refused = registryError(error);
    if (refused === undefined) throw error;
    throw new TallystickError({ code: "rating_refused", status: 409, retry: "never", detail: `The registry refuses the rating: ${refused.name}.`, extra: { reason: refused.name }, cause: error });
  }
}

async function outcome({ submitter }: GatewayDeps, txId: bigint, sentAs: Hex): Promise<Rated["sent"]> {
  const told = await submitter.wait(txId, WAIT_MS);
  if (told.status === "confirmed" || told.status === "pending") return { hash: told.hash, status: told.status };
  throw new TallystickError({ code: "rating_refused", status: 409, retry: "safe", detail: `Transaction ${sentAs} came to nothing (${told.status}).`, extra: { transaction: sentAs } });
}

async function checkQuota({ db }: Pick<GatewayDeps, "db"> | { db: Parameters<typeof countSent>[0] }, rater: Parameters<typeof countSent>[1]): Promise<void> {
  const { ofRater, inAll } = await countSent(db, rater);
  if (ofRater < MOST_OF_RATER && inAll < MOST_IN_ALL) return;
  throw new TallystickError({ code: "rating_quota", status: 429, retry: "safe", detail: "This relayer pays for no more ratings today; the payer can send it itself.", extra: { retryAfterS: 3_600 } });
}
