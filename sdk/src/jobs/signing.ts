// What the people of a job sign, from what a relayer shows of it. Nothing here is sent anywhere. Amounts atomic units, times Unix seconds.
import { bytesToHex, sha256, type Address, type Hex, type LocalAccount } from "viem";
import {
  concessionTypes, disputeDigest, disputeEvaluatorDomain, escalationDigest, jobAuthorizationNonce, jobEscrowDomain, jobHireDigest, jobSubmissionTypes, rulingTypes, voteCommitment, voteCommitmentTypes,
  type HireTerms, type Vote,
} from "../job-messages.ts";
import { receiveWithAuthorizationTypes } from "../typed-data.ts";
import { disputeSpan, documentHash, hireTermsOf, type DisputeStatement, type JobBrief, type JobRules } from "./brief.ts";

export type Contracts = { chainId: number; jobEscrow: Address; disputeEvaluator: Address; token: { address: Address; name: string; version: string }; minWindow: number };
export type Signer = Pick<LocalAccount, "address" | "signTypedData">;

export type WireAuthorization = { validAfter: number; validBefore: number; salt: Hex; signature: Hex };

const randomWord = (): Hex => bytesToHex(crypto.getRandomValues(new Uint8Array(32)));

async function payFor(signer: Signer, { chainId, token }: Contracts, to: Address, value: bigint, digest: Hex, validBefore: number): Promise<WireAuthorization> {
  const salt = randomWord();
  const message = { from: signer.address, to, value, validAfter: 0n, validBefore: BigInt(validBefore), nonce: jobAuthorizationNonce(digest, salt) };
  const domain = { name: token.name, version: token.version, chainId, verifyingContract: token.address };
  const signature = await signer.signTypedData({ domain, types: receiveWithAuthorizationTypes, primaryType: "ReceiveWithAuthorization", message });
  return { validAfter: 0, validBefore, salt, signature };
}

export type HireChoice = { client: Address; clientAgent: Address; provider: Address; budget: bigint; deliverWithinS: number; brief: JobBrief; rules: JobRules };

/** The soonest expiry that leaves time for the work and for every step of a dispute; `slackS` for transactions on their way. */
export function expiryFor(choice: HireChoice, contracts: Contracts, nowS: number, slackS = 120): number {
  const isJudged = choice.brief.releaseCondition.type !== "outcome";
  return nowS + choice.deliverWithinS + slackS + (isJudged ? disputeSpan(choice.rules, contracts.minWindow) : 0);
}

/** `authorization` of a hire whose client is the signer; the terms are what it is bound to. */
export async function signHire(signer: Signer, contracts: Contracts, choice: HireChoice, { expiredAt, validBefore }: { expiredAt: number; validBefore: number }): Promise<{ terms: HireTerms; authorization: WireAuthorization }> {
  const terms = hireTermsOf({ ...choice, expiredAt: BigInt(expiredAt), disputeEvaluator: contracts.disputeEvaluator });
  const digest = jobHireDigest(jobEscrowDomain(contracts.chainId, contracts.jobEscrow), signer.address, terms);
  return { terms, authorization: await payFor(signer, contracts, contracts.jobEscrow, choice.budget, digest, validBefore) };
}

/** The deliverable of a job is the SHA-256 of its bytes. */
export async function signSubmission(signer: Signer, contracts: Contracts, chainJobId: bigint, content: Uint8Array, deadline: number): Promise<{ deliverable: Hex; signature: Hex }> {
  const deliverable = sha256(content);
  const message = { jobId: chainJobId, deliverable, optParams: "0x" as Hex, deadline: BigInt(deadline) };
  return { deliverable, signature: await signer.signTypedData({ domain: jobEscrowDomain(contracts.chainId, contracts.jobEscrow), types: jobSubmissionTypes, primaryType: "JobSubmission", message }) };
}

/** The client side accepts, or the provider gives up. */
export function signConcession(signer: Signer, contracts: Contracts, chainJobId: bigint, deadline: number): Promise<Hex> {
  const message = { jobId: chainJobId, party: signer.address, deadline: BigInt(deadline) };
  return signer.signTypedData({ domain: judgeDomain(contracts), types: concessionTypes, primaryType: "Concession", message });
}

export async function signDispute(signer: Signer, contracts: Contracts, chainJobId: bigint, statement: DisputeStatement, bond: bigint, validBefore: number): Promise<{ evidence: Hex; authorization: WireAuthorization }> {
  const evidence = documentHash(statement);
  const digest = disputeDigest(judgeDomain(contracts), { jobId: chainJobId, party: signer.address, evidence });
  return { evidence, authorization: await payFor(signer, contracts, contracts.disputeEvaluator, bond, digest, validBefore) };
}

/** @param bond of the dispute; an escalation costs twice that. */
export function signEscalation(signer: Signer, contracts: Contracts, chainJobId: bigint, bond: bigint, validBefore: number): Promise<WireAuthorization> {
  const digest = escalationDigest(judgeDomain(contracts), { jobId: chainJobId, party: signer.address });
  return payFor(signer, contracts, contracts.disputeEvaluator, 2n * bond, digest, validBefore);
}

/** What is kept until it is time to reveal: without the salt a seat loses its bond. */
export type SecretVote = Vote & { seat: number; commitment: Hex };

export function newVote(vote: Omit<Vote, "salt"> & { seat: number }): SecretVote {
  const full = { ...vote, salt: randomWord() };
  return { ...full, commitment: voteCommitment(full) };
}

export function signCommitment(signer: Signer, contracts: Contracts, { jobId, round, seat, commitment }: SecretVote, deadline: number): Promise<Hex> {
  const message = { jobId, round, seat: BigInt(seat), commitment, deadline: BigInt(deadline) };
  return signer.signTypedData({ domain: judgeDomain(contracts), types: voteCommitmentTypes, primaryType: "VoteCommitment", message });
}

export function signRuling(signer: Signer, contracts: Contracts, ruling: { chainJobId: bigint; providerBps: number; reason: Hex; deadline: number }): Promise<Hex> {
  const message = { jobId: ruling.chainJobId, providerBps: ruling.providerBps, reason: ruling.reason, deadline: BigInt(ruling.deadline) };
  return signer.signTypedData({ domain: judgeDomain(contracts), types: rulingTypes, primaryType: "Ruling", message });
}

const judgeDomain = ({ chainId, disputeEvaluator }: Contracts) => disputeEvaluatorDomain(chainId, disputeEvaluator);
