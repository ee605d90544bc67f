// What is signed for jobs and disputes has one home, sdk/src/job-messages.ts. Here each type, domain and digest is compared with
// the contracts, for random values; and what the contracts decode is made by it.
import { expect } from "chai";
import type { Contract } from "ethers";
import fc from "fast-check";
import { getAddress, keccak256, toHex, zeroHash, type Hex } from "viem";
import { receiveWithAuthorizationTypes } from "../../../sdk/src/typed-data.ts";
import * as messages from "../../../sdk/src/job-messages.ts";
import { erc3009Authorization, spendOrder } from "../../../sdk/src/mandate-messages.ts";
import { hashTypedData } from "viem";
import { idOf, mandateOf, signMandate, subMandateOf } from "../../support/mandate-world.ts";
import { AGENT, BUDGET_ATOMIC, CLIENT, createJobWorld, escrowAs, hireTerms, judgedTerms, PROVIDER, type JobWorld } from "../../support/job-world.ts";
import { send, signDigest, VALID_BEFORE_S } from "../../support/session-world.ts";

const address = fc.uint8Array({ minLength: 20, maxLength: 20 }).map((bytes) => getAddress(toHex(bytes)));
const bytes32 = fc.uint8Array({ minLength: 32, maxLength: 32 }).map((bytes) => toHex(bytes));
const bytes = fc.uint8Array({ maxLength: 70 }).map((some) => toHex(some));
const uint = (bits: number) => fc.bigInt({ min: 0n, max: (1n << BigInt(bits)) - 1n });
const terms: fc.Arbitrary<messages.HireTerms> = fc.record({
  provider: address, evaluator: address, hook: address, expiredAt: uint(256), budget: uint(256), description: fc.string(), optParams: bytes,
});
const RUNS = { numRuns: 40 };

describe("job messages", () => {
  let world: JobWorld;
  before(async () => void (world = await createJobWorld()));
  after(() => world.connection.close());
  const ask = (contract: Contract, name: string, ...args: unknown[]): Promise<unknown> => contract.getFunction(name)(...args);

  const typehashes: ["escrow" | "judge", string, Record<string, readonly { name: string; type: string }[]>][] = [
    ["escrow", "HIRE_TYPEHASH", messages.jobHireTypes],
    ["escrow", "SUBMISSION_TYPEHASH", messages.jobSubmissionTypes],
    ["escrow", "COMPLETION_TYPEHASH", messages.jobCompletionTypes],
    ["escrow", "REJECTION_TYPEHASH", messages.jobRejectionTypes],
    ["judge", "DISPUTE_TYPEHASH", messages.disputeTypes],
    ["judge", "ESCALATION_TYPEHASH", messages.escalationTypes],
    ["judge", "CONCESSION_TYPEHASH", messages.concessionTypes],
    ["judge", "VOTE_TYPEHASH", messages.voteCommitmentTypes],
    ["judge", "RULING_TYPEHASH", messages.rulingTypes],
  ];
  for (const [contract, getter, types] of typehashes) {
    it(getter, async () => {
      const [[name, fields]] = Object.entries(types) as [[string, { name: string; type: string }[]]];
      expect(await ask(world[contract], getter)).to.equal(keccak256(toHex(`${name}(${fields.map((field) => `${field.type} ${field.name}`).join(",")})`)));
    });
  }

  it("the domains", async () => {
    for (const [contract, domain] of [[world.escrow, world.escrowDomain], [world.judge, world.judgeDomain]] as const) {
      const [, name, version, chainId, verifyingContract] = (await ask(contract, "eip712Domain")) as [string, string, string, bigint, string];
      expect({ name, version, chainId: Number(chainId), verifyingContract }).to.deep.equal(domain);
    }
  });

  it("digests of random hires and verbs", async () => {
    await fc.assert(
      fc.asyncProperty(terms, address, uint(256), bytes32, bytes, uint(256), async (hire, client, jobId, word, optParams, deadline) => {
        const domain = world.escrowDomain;
        expect(await ask(world.escrow, "getHireDigest", client, hire)).to.equal(messages.jobHireDigest(domain, client, hire));
        const args = [jobId, word, optParams, deadline] as const;
        expect(await ask(world.escrow, "getSubmissionDigest", ...args)).to.equal(messages.jobSubmissionDigest(domain, { jobId, deliverable: word, optParams, deadline }));
        expect(await ask(world.escrow, "getCompletionDigest", ...args)).to.equal(messages.jobCompletionDigest(domain, { jobId, reason: word, optParams, deadline }));
        expect(await ask(world.escrow, "getRejectionDigest", ...args)).to.equal(messages.jobRejectionDigest(domain, { jobId, reason: word, optParams, deadline }));
      }),
      RUNS,
    );
  });

  it("digests of random disputes, escalations, concessions, votes and rulings", async () => {
    await fc.assert(
      fc.asyncProperty(uint(256), address, bytes32, uint(256), uint(256), uint(16).map(Number), async (jobId, party, word, seat, deadline, providerBps) => {
        const domain = world.judgeDomain;
        const round = 2n;
        expect(await ask(world.judge, "getDisputeDigest", jobId, party, word)).to.equal(messages.disputeDigest(domain, { jobId, party, evidence: word }));
        expect(await ask(world.judge, "getEscalationDigest", jobId, party)).to.equal(messages.escalationDigest(domain, { jobId, party }));
        expect(await ask(world.judge, "getConcessionDigest", jobId, party, deadline)).to.equal(messages.concessionDigest(domain, { jobId, party, deadline }));
        expect(await ask(world.judge, "getVoteDigest", jobId, round, seat, word, deadline)).to.equal(messages.voteCommitmentDigest(domain, { jobId, round, seat, commitment: word, deadline }));
        expect(await ask(world.judge, "getRulingDigest", jobId, providerBps, word, deadline)).to.equal(messages.rulingDigest(domain, { jobId, providerBps, reason: word, deadline }));
        const vote = { jobId, round, verifier: party, providerBps, reason: word, salt: zeroHash };
        expect(await ask(world.judge, "getCommitment", jobId, round, party, providerBps, word, zeroHash)).to.equal(messages.voteCommitment(vote));
      }),
      RUNS,
    );
  });

  it("a hire by one ERC-3009 signature, submitted by another, both sent by a stranger", async () => {
    const hire = hireTerms();
    const nonce = messages.jobAuthorizationNonce(messages.jobHireDigest(world.escrowDomain, CLIENT.address, hire), zeroHash);
    const message = { from: CLIENT.address, to: world.escrowAddress, value: hire.budget, validAfter: 0n, validBefore: VALID_BEFORE_S, nonce };
    const digest = hashTypedData({ domain: world.usdcDomain, types: receiveWithAuthorizationTypes, primaryType: "ReceiveWithAuthorization", message });
    const authorization = erc3009Authorization({ validAfter: 0n, validBefore: VALID_BEFORE_S, salt: zeroHash, signature: await signDigest(CLIENT.key, digest) });
    await send(world.escrow, "hireWithAuthorization", CLIENT.address, hire, authorization);
    const jobId = (await ask(world.escrow, "jobCount")) as bigint;
    const submission = { jobId, deliverable: keccak256("0x01"), optParams: "0x" as Hex, deadline: VALID_BEFORE_S };
    const signature = await signDigest(PROVIDER.key, messages.jobSubmissionDigest(world.escrowDomain, submission));
    await send(world.escrow, "submitBySig", jobId, submission.deliverable, "0x", submission.deadline, signature);
    const { status, client } = (await ask(world.escrow, "stateOf", jobId)) as { status: bigint; client: string };
    expect([status, client]).to.deep.equal([2n, CLIENT.address]);
  });

  it("a hire by mandate: the agent's grant names the job, and the principal is its client", async () => {
    const hire = judgedTerms(world, { panelSize: 0, quorum: 0, escalationWindow: 0, arbitrator: AGENT.address });
    const root = mandateOf(world, { principal: CLIENT.address, delegate: AGENT.address, limit: 5_000_000n, paymentLimit: 5_000_000n });
    const termsDigest = messages.jobHireDigest(world.escrowDomain, CLIENT.address, hire);
    const mandate = subMandateOf(world, root, { delegate: world.escrowAddress, limit: BUDGET_ATOMIC, paymentLimit: BUDGET_ATOMIC, terms: termsDigest });
    const approvals = [await signMandate(world, AGENT, mandate), await signMandate(world, CLIENT, root)];
    const order = spendOrder({ lineage: [mandate, root], approvals, payee: world.escrowAddress, amount: BUDGET_ATOMIC });
    const receipt = await send(world.escrow, "hireByMandate", hire, messages.jobMandateOrder(order));
    const hired = receipt.logs.map((log) => world.escrow.interface.parseLog(log)).find((event) => event?.name === "JobHiredByMandate");
    expect(hired?.args.toArray().slice(1)).to.deep.equal([idOf(world, mandate), AGENT.address]);
    const other = { ...hire, provider: AGENT.address };
    const encoded = messages.jobMandateOrder(order);
    const thief = await escrowAs(world, AGENT);
    await expect(send(thief, "hireByMandate", other, encoded)).to.be.revertedWithCustomError(world.escrow, "WrongMandate");
  });
});
