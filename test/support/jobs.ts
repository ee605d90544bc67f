// Jobs over HTTP on a real chain: what clients, providers, verifiers and validators sign, by hand, so that every part of it can be wrong.
import { sha256, zeroHash, numberToHex, type Address, type Hex, type LocalAccount } from "viem";
import { generatePrivateKey, privateKeyToAccount } from "viem/accounts";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { until } from "../../scripts/local/process.ts";
import { signIn } from "../../sdk/src/access.ts";
import { disputeEvaluatorAbi } from "../../sdk/src/abi/dispute-evaluator.ts";
import { testUSDCAbi } from "../../sdk/src/abi/test-usdc.ts";
import { BASE_SEPOLIA, LOCAL_DISPUTE_EVALUATOR, LOCAL_JOB_ESCROW } from "../../sdk/src/constants.ts";
import { hireTermsOf, type JobBrief, type ReleaseCondition } from "../../sdk/src/jobs/brief.ts";
import * as messages from "../../sdk/src/job-messages.ts";
import { receiveWithAuthorizationTypes } from "../../sdk/src/typed-data.ts";
import { Sessions } from "./session.ts";
import type { TestWorld } from "./relayer.ts";
import { encodeFunctionData, maxUint256 } from "viem";

export const ESCROW_DOMAIN = messages.jobEscrowDomain(BASE_SEPOLIA.chainId, LOCAL_JOB_ESCROW);
export const JUDGE_DOMAIN = messages.disputeEvaluatorDomain(BASE_SEPOLIA.chainId, LOCAL_DISPUTE_EVALUATOR);
/** What a relayer needs to know of the local world's contracts. */
export const JOBS_ENV = { RELAYER_JOB_ESCROW: LOCAL_JOB_ESCROW, RELAYER_DISPUTE_EVALUATOR: LOCAL_DISPUTE_EVALUATOR, RELAYER_JOB_MIN_BUDGET: "1000" };
const { name, version, address: USDC } = BASE_SEPOLIA.usdc;
const USDC_DOMAIN = { name, version, chainId: BASE_SEPOLIA.chainId, verifyingContract: USDC };

export const newKey = () => privateKeyToAccount(generatePrivateKey());

// eslint-disable-next-line @typescript-eslint/no-explicit-any
export type Json = Record<string, any>;
export type Answered = { status: number; body: Json };
export type Agent = { account: LocalAccount; address: Address; ask(method: string, path: string, body?: unknown, headers?: Record<string, string>): Promise<Answered> };

/** Somebody who is signed in. */
export async function agentAt(relayerUrl: string, account: LocalAccount = newKey()): Promise<Agent> {
  const { token } = await signIn({ relayerUrl, account });
  return {
    account, address: account.address,
    async ask(method, path, body, headers = {}) {
      const type: Record<string, string> = body === undefined ? {} : { "content-type": "application/json" };
      const response = await fetch(`${relayerUrl}/api/v1${path}`, { method, headers: { authorization: `Bearer ${token}`, ...type, ...headers }, ...(body === undefined ? {} : { body: JSON.stringify(body) }) });
      const text = await response.text();
      return { status: response.status, body: (response.headers.get("content-type") ?? "").includes("json") ? (JSON.parse(text) as Json) : { text } };
    },
  };
}

/** Short, so that tests do not wait. */
export const QUICK = { reviewWindow: 3, commitWindow: 20, revealWindow: 20, escalationWindow: 2, panelSize: 3, quorum: 2, defaultBps: 5_000 };

export function posting(provider: Address | undefined, change: Json = {}): Json {
  return { ...(provider === undefined ? {} : { provider }), title: "Translate a page", description: "From English to French.", budgetAtomic: "1000000", deliverWithinS: 600, ...change, rules: { ...QUICK, ...(change["rules"] as Json) } };
}

let salts = 0n;

async function receive(account: LocalAccount, to: Address, value: bigint, digest: Hex, validBefore: number) {
  const salt = numberToHex(++salts, { size: 32 });
  const nonce = messages.jobAuthorizationNonce(digest, salt);
  const message = { from: account.address, to, value, validAfter: 0n, validBefore: BigInt(validBefore), nonce };
  const signature = await account.signTypedData!({ domain: USDC_DOMAIN, types: receiveWithAuthorizationTypes, primaryType: "ReceiveWithAuthorization", message });
  return { validAfter: 0, validBefore, salt, signature };
}

export const inS = (seconds: number): number => Math.floor(Date.now() / 1000) + seconds;

type Hiring = { client: Address; provider?: Address; budget?: bigint; expiredAt: number };

/** What is fixed when a job is hired as its view says, and the hash of it. */
export function termsOf(view: Json, { client, provider = view["provider"] as Address, budget = BigInt(view["budgetAtomic"] as string), expiredAt }: Hiring): { terms: messages.HireTerms; digest: Hex } {
  const { disputeBondAtomic, ...rules } = view["rules"] as Json;
  const brief: JobBrief = { title: view["title"] as string, description: view["description"] as string, releaseCondition: view["releaseCondition"] as ReleaseCondition };
  const terms = hireTermsOf({
    client, clientAgent: view["clientAgent"] as Address, provider, budget, expiredAt: BigInt(expiredAt), brief, rules: { ...(rules as Omit<messages.DisputeTerms, "disputeBond" | "clientAgent">), disputeBond: BigInt(disputeBondAtomic as string) },
    disputeEvaluator: LOCAL_DISPUTE_EVALUATOR,
  });
  return { terms, digest: messages.jobHireDigest(ESCROW_DOMAIN, client, terms) };
}

/** What a client signs to hire as a job's view says. */
export async function hireBody(client: Agent, view: Json, { provider = view["provider"] as Address, budget = BigInt(view["budgetAtomic"] as string), expiredAt = inS(3_600), validBefore = inS(3_600) } = {}): Promise<Json> {
  const { digest } = termsOf(view, { client: client.address, provider, budget, expiredAt });
  return { provider, expiredAt, budgetAtomic: String(budget), authorization: await receive(client.account, LOCAL_JOB_ESCROW, budget, digest, validBefore) };
}

export async function submitBody(provider: Agent, chainJobId: string, content: string | Buffer, { deadline = inS(3_600), mediaType = "text/plain" } = {}): Promise<Json> {
  const bytes = Buffer.from(content);
  const message = { jobId: BigInt(chainJobId), deliverable: sha256(bytes), optParams: "0x" as Hex, deadline: BigInt(deadline) };
  const signature = await provider.account.signTypedData!({ domain: ESCROW_DOMAIN, types: messages.jobSubmissionTypes, primaryType: "JobSubmission", message });
  return { mediaType, contentBase64: bytes.toString("base64"), deadline, signature };
}

export async function concedeBody(agent: Agent, chainJobId: string, deadline = inS(3_600)): Promise<Json> {
  const message = { jobId: BigInt(chainJobId), party: agent.address, deadline: BigInt(deadline) };
  return { party: agent.address, deadline, signature: await agent.account.signTypedData!({ domain: JUDGE_DOMAIN, types: messages.concessionTypes, primaryType: "Concession", message }) };
}

export async function verdictBody(validator: LocalAccount, chainJobId: string, verdict: "complete" | "reject", deadline = inS(3_600)): Promise<Json> {
  const message = { jobId: BigInt(chainJobId), reason: zeroHash, optParams: "0x" as Hex, deadline: BigInt(deadline) };
  const signature = verdict === "complete"
    ? await validator.signTypedData!({ domain: ESCROW_DOMAIN, types: messages.jobCompletionTypes, primaryType: "JobCompletion", message })
    : await validator.signTypedData!({ domain: ESCROW_DOMAIN, types: messages.jobRejectionTypes, primaryType: "JobRejection", message });
  return { verdict, reason: zeroHash, deadline, signature };
}

/** ERC-3009 for a bond that is bound to what it is put up for. */
export const bondFor = (agent: Agent, bond: bigint, digest: Hex, validBefore = inS(3_600)) => receive(agent.account, LOCAL_DISPUTE_EVALUATOR, bond, digest, validBefore);

export type Hired = { client: Agent; provider: Agent; jobId: string; chainJobId: string; view: Json };

/** A job that is funded on the chain. */
export async function hired({ url, chain }: Pick<TestWorld, "url" | "chain">, change: Json = {}): Promise<Hired> {
  const [client, provider] = await Promise.all([agentAt(url), agentAt(url)]);
  await chain.mintUSDC(client.address, 10_000_000n);
  const posted = await client.ask("POST", "/jobs", posting(provider.address, change));
  if (posted.status !== 201) throw new Error(`not posted: ${JSON.stringify(posted.body)}`);
  const jobId = posted.body["jobId"] as string;
  const { status, body } = await client.ask("POST", `/jobs/${jobId}/hire`, await hireBody(client, posted.body));
  if (status >= 300) throw new Error(`not hired: ${JSON.stringify(body)}`);
  const view = await viewWhere({ client, jobId }, "on the chain", ({ chainJobId }) => chainJobId !== null);
  return { client, provider, jobId, chainJobId: view["chainJobId"] as string, view };
}

export async function delivered(world: Pick<TestWorld, "url" | "chain">, change: Json = {}, content = "Bonjour"): Promise<Hired> {
  const job = await hired(world, change);
  const { status, body } = await job.provider.ask("POST", `/jobs/${job.jobId}/submit`, await submitBody(job.provider, job.chainJobId, content));
  if (status >= 300) throw new Error(`not submitted: ${JSON.stringify(body)}`);
  return { ...job, view: await viewWhere(job, "delivered", ({ deliverable }) => deliverable !== null) };
}

/** The view for which that is so; a busy machine needs a while. */
export function viewWhere({ client, jobId }: Pick<Hired, "client" | "jobId">, what: string, holds: (view: Json) => boolean): Promise<Json> {
  return until(`job ${what}`, async () => {
    const { body } = await client.ask("GET", `/jobs/${jobId}`);
    return holds(body) ? body : undefined;
  }, 60_000, 100);
}

export const stateReached = (job: Pick<Hired, "client" | "jobId">, state: string): Promise<Json> => viewWhere(job, state, (view) => view["state"] === state);

export function balanceOf({ chain }: Pick<TestWorld, "chain">, account: Address): Promise<bigint> {
  return chain.client.readContract({ address: USDC, abi: testUSDCAbi, functionName: "balanceOf", args: [account] });
}

/** Verifiers with a bond each; they have no ether but what bonding takes. */
export async function bondVerifiers({ chain, url }: Pick<TestWorld, "chain" | "url">, count: number, bondAtomic = 1_000_000n): Promise<Agent[]> {
  const agents = await Promise.all(Array.from({ length: count }, () => agentAt(url)));
  const sessions = new Sessions(chain);
  for (const { account, address } of agents) {
    await chain.mintUSDC(address, bondAtomic);
    await chain.client.setBalance({ address, value: 10n ** 18n });
    await sessions.sendTo(account, USDC, encodeFunctionData({ abi: testUSDCAbi, functionName: "approve", args: [LOCAL_DISPUTE_EVALUATOR, maxUint256] }));
    await sessions.sendTo(account, LOCAL_DISPUTE_EVALUATOR, encodeFunctionData({ abi: disputeEvaluatorAbi, functionName: "bond", args: [bondAtomic] }));
  }
  return agents;
}

export type Validator = { url: string; account: LocalAccount; asked: Json[]; stop(): Promise<void> };

/** A validator that answers as it is told to. */
export async function startValidator(answer: (question: Json, account: LocalAccount, response: ServerResponse, request: IncomingMessage) => Promise<void>): Promise<Validator> {
  const account = newKey();
  const asked: Json[] = [];
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () => {
      const question = JSON.parse(Buffer.concat(chunks).toString() || "{}") as Json;
      asked.push(question);
      answer(question, account, response, request).catch(() => response.destroy());
    });
  });
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/validate`, account, asked,
    stop: () => new Promise((done) => {
      server.closeAllConnections();
      server.close(() => done());
    }),
  };
}
