// One agent's side of jobs over a relayer's API: it signs what the relayer shows, after checking that it is what was asked for. The relayer pays
// the gas and can move nothing that is not signed here.
import { getAddress, sha256, stringToBytes, type Address, type Hex, type LocalAccount } from "viem";
import { signIn } from "../access.ts";
import { chainById } from "../constants.ts";
import { TallystickError } from "../errors.ts";
import { documentHash, type Attachment, type DisputeStatement, type JobBrief, type JobRules, type ReleaseCondition } from "./brief.ts";
import { grantHire, type JobMandate } from "./mandate.ts";
import { expiryFor, newVote, signCommitment, signConcession, signDispute, signEscalation, signHire, signRuling, signSubmission, type Contracts, type SecretVote } from "./signing.ts";

// eslint-disable-next-line @typescript-eslint/no-explicit-any
type Json = Record<string, any>;
export type JobView = Json & { jobId: string; chainJobId: string | null; state: string; client: Address; clientAgent: Address; provider: Address | null; budgetAtomic: string | null };
export type Acted = { job: JobView; transaction: { hash: Hex; status: string } };
export type Upload = { name: string; mediaType: string; content: Uint8Array };
export type NewJob = {
  provider?: Address; client?: Address; title: string; description: string; budget?: bigint; deliverWithinS: number; openForS?: number; releaseCondition?: ReleaseCondition;
  rules?: Partial<Omit<JobRules, "disputeBond">> & { disputeBondAtomic?: string };
};

export type JobsClient = ReturnType<typeof jobsClient>;
export type JobsClientOptions = {
  relayerUrl: string;
  account: LocalAccount;
  fetch?: typeof fetch;
  /** Unix seconds; for chains whose clock is not ours. */
  nowS?: () => number;
  /** How long what is signed may be used. */
  signedForS?: number;
};

export function jobsClient({ relayerUrl, account, fetch: fetcher = globalThis.fetch, nowS = () => Math.floor(Date.now() / 1000), signedForS = 3_600 }: JobsClientOptions) {
  const origin = new URL(relayerUrl).origin;
  let token: Promise<string> | undefined;
  const deadline = () => nowS() + signedForS;

  async function ask(method: string, path: string, body?: unknown, headers: Record<string, string> = {}): Promise<Response> {
    token ??= signIn({ relayerUrl, account, fetch: fetcher }).then((signedIn) => signedIn.token);
    token.catch(() => (token = undefined));
    const type: Record<string, string> = body === undefined ? {} : { "content-type": "application/json" };
    const response = await fetcher(`${origin}/api/v1${path}`, { method, headers: { authorization: `Bearer ${await token}`, ...type, ...headers }, ...(body === undefined ? {} : { body: JSON.stringify(body) }) });
    if (response.ok) return response;
    // Signed in anew with the next call.
    if (response.status === 401) token = undefined;
    throw await problemOf(response);
  }
  const json = async <T>(method: string, path: string, body?: unknown, headers?: Record<string, string>) => (await (await ask(method, path, body, headers)).json()) as T;
  const show = (jobId: string) => json<JobView>("GET", `/jobs/${jobId}`);

  return {
    address: account.address,
    show,
    post({ budget, ...job }: NewJob, idempotencyKey?: string): Promise<JobView> {
      return json("POST", "/jobs", { ...job, ...(budget === undefined ? {} : { budgetAtomic: String(budget) }) }, idempotencyKey === undefined ? {} : { "idempotency-key": idempotencyKey });
    },
    list: async (role = "any"): Promise<JobView[]> => (await json<{ jobs: JobView[] }>("GET", `/jobs?role=${role}`)).jobs,
    history: async (jobId: string): Promise<Json[]> => (await json<{ events: Json[] }>("GET", `/jobs/${jobId}/history`)).events,
    quote: (jobId: string, quote: { budgetAtomic: string; deliverWithinS: number; note?: string }) => json<JobView>("POST", `/jobs/${jobId}/quote`, quote),
    withdraw: (jobId: string) => json<JobView>("DELETE", `/jobs/${jobId}`),

    /**
     * Pays for the job: its provider's quote, or the budget it was posted with, and never more than `most`. With the caller's own money, by ERC-3009; or
     * under `mandate` with its principal's, who has to be the job's client and lets the registry move its tokens.
     */
    async hire(jobId: string, { provider, most, mandate }: { provider?: Address; most?: bigint; mandate?: JobMandate } = {}): Promise<Acted> {
      const view = await show(jobId);
      const contracts = contractsOf(view);
      const choice = choiceOf(view, provider);
      if (most !== undefined && choice.budget > most) throw new TallystickError({ code: "budget_too_high", status: 402, retry: "never", field: "budget", detail: `The job costs ${choice.budget}, at most ${most} was to be paid.` });
      const expiredAt = expiryFor(choice, contracts, nowS());
      const paid = mandate === undefined
        ? { authorization: (await signHire(account, contracts, choice, { expiredAt, validBefore: deadline() })).authorization }
        : { order: (await grantHire(account, contracts, choice, { expiredAt, nowS: nowS(), signedForS, mandate })).order };
      return json("POST", `/jobs/${jobId}/hire`, { provider: choice.provider, expiredAt, budgetAtomic: String(choice.budget), ...paid });
    },
    async submit(jobId: string, { mediaType, content }: Omit<Upload, "name">): Promise<Acted> {
      const view = await show(jobId);
      const until = deadline();
      const { signature } = await signSubmission(account, contractsOf(view), numberOf(view), content, until);
      return json("POST", `/jobs/${jobId}/submit`, { mediaType, contentBase64: base64(content), deadline: until, signature });
    },
    accept: (jobId: string) => concede(jobId, "accept"),
    /** The provider gives the job up. */
    reject: (jobId: string) => concede(jobId, "reject"),
    async deliverable(jobId: string): Promise<{ mediaType: string; content: Uint8Array }> {
      const { deliverable } = await show(jobId);
      if (typeof deliverable !== "string") throw new TallystickError({ code: "job_state", status: 409, retry: "never", detail: "Nothing was submitted." });
      return file(jobId, deliverable as Hex);
    },
    file,
    async dispute(jobId: string, { description, attachments = [], logs = [] }: { description: string; attachments?: Upload[]; logs?: Upload[] }): Promise<Acted> {
      const view = await show(jobId);
      const statement: DisputeStatement = { jobId, party: account.address, description, attachments: attachments.map(described), logs: logs.map(described) };
      const { authorization } = await signDispute(account, contractsOf(view), numberOf(view), statement, bondOf(view), deadline());
      return json("POST", `/jobs/${jobId}/dispute`, { party: account.address, description, attachments: attachments.map(uploaded), logs: logs.map(uploaded), authorization });
    },
    showDispute: (jobId: string) => json<Json>("GET", `/jobs/${jobId}/dispute`),
    evidence: (jobId: string, { description, attachments = [], logs = [] }: { description: string; attachments?: Upload[]; logs?: Upload[] }) =>
      json<{ sha256: Hex }>("POST", `/jobs/${jobId}/dispute/evidence`, { description, attachments: attachments.map(uploaded), logs: logs.map(uploaded) }),
    async escalate(jobId: string): Promise<Acted> {
      const view = await show(jobId);
      return json("POST", `/jobs/${jobId}/dispute/escalate`, { party: account.address, authorization: await signEscalation(account, contractsOf(view), numberOf(view), bondOf(view), deadline()) });
    },
    /**
     * Commits to a vote from the seat that is the caller's. @returns what has to be kept for `reveal`.
     * @param keep is called with it before anything is sent: a vote that is lost after it was sent costs the seat's bond.
     */
    async commit(jobId: string, { providerBps, reason }: { providerBps: number; reason: string }, keep: (vote: SecretVote) => Promise<void> = async () => {}): Promise<SecretVote> {
      const view = await show(jobId);
      const { round, seat } = seatOf(view, account.address);
      const vote = newVote({ jobId: numberOf(view), round: BigInt(round), verifier: account.address, providerBps, reason: reasonHash(reason), seat });
      await keep(vote);
      const until = deadline();
      await json("POST", `/jobs/${jobId}/dispute/commit`, { seat, commitment: vote.commitment, deadline: until, signature: await signCommitment(account, contractsOf(view), vote, until) });
      return vote;
    },
    reveal: (jobId: string, { seat, providerBps, reason, salt }: Pick<SecretVote, "seat" | "providerBps" | "reason" | "salt">) => json<Acted>("POST", `/jobs/${jobId}/dispute/reveal`, { seat, providerBps, reason, salt }),
    async rule(jobId: string, { providerBps, reason }: { providerBps: number; reason: string }): Promise<Acted> {
      const view = await show(jobId);
      const ruling = { chainJobId: numberOf(view), providerBps, reason: reasonHash(reason), deadline: deadline() };
      return json("POST", `/jobs/${jobId}/dispute/rule`, { providerBps, reason: ruling.reason, deadline: ruling.deadline, signature: await signRuling(account, contractsOf(view), ruling) });
    },
  };

  async function concede(jobId: string, verb: "accept" | "reject"): Promise<Acted> {
    const view = await show(jobId);
    const until = deadline();
    return json("POST", `/jobs/${jobId}/${verb}`, { party: account.address, deadline: until, signature: await signConcession(account, contractsOf(view), numberOf(view), until) });
  }

  /** What comes is what the hash says, whatever the relayer sends. */
  async function file(jobId: string, hash: Hex): Promise<{ mediaType: string; content: Uint8Array }> {
    const response = await ask("GET", `/jobs/${jobId}/files/${hash}`);
    const content = new Uint8Array(await response.arrayBuffer());
    if (sha256(content) !== hash.toLowerCase()) throw new TallystickError({ code: "file_forged", status: 502, retry: "never", detail: `What the relayer sends for ${hash} has another hash.` });
    return { mediaType: response.headers.get("content-type") ?? "application/octet-stream", content };
  }
}

/** A reason on chain is the SHA-256 of its text. */
export const reasonHash = (reason: string): Hex => (/^0x[0-9a-f]{64}$/i.test(reason) ? (reason as Hex) : sha256(stringToBytes(reason)));

function contractsOf({ contracts }: JobView): Contracts {
  const chain = chainById(contracts.chainId as number);
  if (chain === undefined) throw new TallystickError({ code: "chain_unknown", status: 502, retry: "never", detail: `Chain ${contracts.chainId} is none that Tallystick knows.` });
  return { chainId: contracts.chainId as number, jobEscrow: getAddress(contracts.jobEscrow as string), disputeEvaluator: getAddress(contracts.disputeEvaluator as string), token: chain.usdc, minWindow: contracts.minWindow as number };
}

function choiceOf(view: JobView, provider: Address | undefined) {
  const quotes = (view["quotes"] as Json[]).filter((quote) => quote["valid"] === true);
  const chosen = provider ?? view.provider ?? (quotes.length === 1 ? (quotes[0]!["provider"] as Address) : undefined);
  const quote = quotes.find((one) => (one["provider"] as string).toLowerCase() === chosen?.toLowerCase());
  const budget = (quote?.["budgetAtomic"] as string | undefined) ?? view.budgetAtomic;
  if (chosen === undefined || budget === null) throw new TallystickError({ code: "provider_needed", status: 409, retry: "never", field: "provider", detail: `${quotes.length} providers quote; say whom you hire.` });
  const brief: JobBrief = { title: view["title"] as string, description: view["description"] as string, releaseCondition: view["releaseCondition"] as ReleaseCondition };
  if (documentHash(brief) !== view["briefSha256"]) throw new TallystickError({ code: "brief_forged", status: 502, retry: "never", field: "briefSha256", detail: "The brief is not what its hash says." });
  const { disputeBondAtomic, ...rules } = view["rules"] as Omit<JobRules, "disputeBond"> & { disputeBondAtomic: string };
  return {
    client: view.client, clientAgent: view.clientAgent, provider: getAddress(chosen), budget: BigInt(budget), deliverWithinS: (quote?.["deliverWithinS"] ?? view["deliverWithinS"]) as number, brief,
    rules: { ...rules, disputeBond: BigInt(disputeBondAtomic) },
  };
}

function numberOf({ chainJobId, jobId }: JobView): bigint {
  if (chainJobId !== null) return BigInt(chainJobId);
  throw new TallystickError({ code: "job_state", status: 409, retry: "safe", detail: `Job ${jobId} is not on the chain yet.` });
}

const bondOf = (view: JobView): bigint => BigInt((view["rules"] as { disputeBondAtomic: string }).disputeBondAtomic);

function seatOf(view: JobView, verifier: Address): { round: number; seat: number } {
  const dispute = view["dispute"] as { round: number; rounds: { panel: { verifier: string }[] }[] } | null;
  const seat = dispute?.rounds[dispute.round - 1]?.panel.findIndex((one) => one.verifier.toLowerCase() === verifier.toLowerCase()) ?? -1;
  if (dispute === null || seat === -1) throw new TallystickError({ code: "not_seated", status: 403, retry: "never", detail: `${verifier} has no seat in this dispute.` });
  return { round: dispute.round, seat };
}

const described = ({ name, mediaType, content }: Upload): Attachment => ({ name, mediaType, sha256: sha256(content), size: content.length });
const uploaded = ({ name, mediaType, content }: Upload) => ({ name, mediaType, contentBase64: base64(content) });

function base64(content: Uint8Array): string {
  let binary = "";
  for (let start = 0; start < content.length; start += 0x8000) binary += String.fromCharCode(...content.subarray(start, start + 0x8000));
  return btoa(binary);
}

async function problemOf(response: Response): Promise<TallystickError> {
  const problem = (await response.json().catch(() => ({}))) as Json;
  const { code, detail, retry, field, ...extra } = problem;
  return new TallystickError({
    code: typeof code === "string" ? code : "relayer_refused", status: response.status, retry: retry === "safe" || retry === "unknown" ? retry : "never",
    detail: typeof detail === "string" ? detail : `The relayer answered ${response.status}.`, ...(typeof field === "string" ? { field } : {}), extra,
  });
}
