// A client of jobs: hires, and each job ends in its own way (silence, acceptance, an arbitrator's ruling, an arbitrator that says nothing, a provider that
// gives up). It, its provider and its arbitrator have no ether; all they do goes through the relayers, which are killed meanwhile.
import { setTimeout as sleep } from "node:timers/promises";
import { keccak256, type PrivateKeyAccount } from "viem";
import { privateKeyToAccount } from "viem/accounts";
import { TallystickError } from "../../sdk/src/errors.ts";
import { jobsClient, type JobsClient, type JobView, type NewJob } from "../../sdk/src/jobs/client.ts";
import type { Actor } from "./actors.ts";
import { patientFetch, PUBLIC_URL, TimeIsOver } from "./api.ts";
import type { Buyer } from "./buyer.ts";
import { openJobs } from "./ledger.ts";

const ENDINGS = ["silence", "acceptance", "ruling", "default", "given_up"] as const;
type Ending = (typeof ENDINGS)[number];

const BUDGET = 10_000n;
/** Jobs under way at once. */
const LANES = 2;
/** As short as the local contract allows, but for what the arbitrator needs. */
const RULES = { reviewWindow: 2, commitWindow: 3, revealWindow: 1, disputeBondAtomic: "1000", defaultBps: 2_500 };
const WORK = { mediaType: "text/plain", content: Buffer.from("Bonjour") };
const OVER = ["completed", "split", "refunded"];
const LOOK_MS = 150;
/** In which everything that was begun has an end, when everybody is healthy. */
const END_MOST_MS = 120_000;

type People = { client: JobsClient; provider: JobsClient; arbitrator: JobsClient };
/** `jobId` as soon as an answer said so: until then the relayers know of the job, or do not, and the same request with the same key tells. */
type Employment = { tag: string; order: NewJob; ending: Ending; jobId?: string };

export const employer: Actor = async (buyer) => {
  const [provider, arbitrator] = ["provider", "arbitrator"].map((role) => privateKeyToAccount(keccak256(Buffer.from(`${buyer.address} ${role}`)))) as [PrivateKeyAccount, PrivateKeyAccount];
  const begun: Employment[] = [];
  const others = [provider.address, arbitrator.address] as const;
  buyer.stage.books.employers.set(buyer.address, { others, jobIds: begun });
  const people = (isOver: () => boolean): People => {
    const clientOf = (account: PrivateKeyAccount) => jobsClient({ relayerUrl: PUBLIC_URL, account, fetch: patientFetch(buyer, isOver) });
    return { client: clientOf(buyer.account), provider: clientOf(provider), arbitrator: clientOf(arbitrator) };
  };
  const now = people(() => buyer.over);
  const lane = async (first: number) => {
    for (let nth = first; !buyer.over; nth += LANES) {
      const tag = buyer.tag();
      const order = { provider: others[0], title: tag, description: "one page", budget: BUDGET, deliverWithinS: 30, rules: { ...RULES, arbitrator: others[1] } };
      const employment: Employment = { tag, order, ending: ENDINGS[nth % ENDINGS.length]! };
      begun.push(employment);
      await seeThrough(now, employment, () => buyer.over);
      await sleep(buyer.draw.int(0, buyer.plan.pauseMs));
    }
  };
  await Promise.all(Array.from({ length: LANES }, (_, nth) => lane(nth).catch(unlessOver)));
  return [() => endAll(buyer, people, begun)];
};

/** What was begun ends, once all is quiet; nobody is left waiting for money. */
async function endAll(buyer: Buyer, people: (isOver: () => boolean) => People, begun: readonly Employment[]): Promise<void> {
  const deadline = performance.now() + END_MOST_MS;
  const isOver = () => performance.now() > deadline;
  const calm = people(isOver);
  await Promise.all(begun.map((employment) => seeThrough(calm, employment, isOver).catch(unlessOver)));
  const open = () => openJobs(buyer.stage.world.db, buyer.address);
  while ((await open()).length > 0 && !isOver()) await sleep(LOOK_MS);
  if (isOver()) buyer.stage.books.violate("a job never ends", `of ${begun.length} jobs of ${buyer.address}, not over after ${END_MOST_MS / 1_000} s with everything healthy: ${(await open()).join("; ")}`);
}

/** Whatever state it is in, whoever's turn it is does what its ending asks for. */
async function seeThrough(people: People, employment: Employment, isOver: () => boolean): Promise<void> {
  const jobId = (employment.jobId ??= (await patiently(() => people.client.post(employment.order, employment.tag), isOver)).jobId);
  for (; !isOver(); await sleep(LOOK_MS)) {
    const view = await patiently(() => people.client.show(jobId), isOver);
    if (OVER.includes(view.state)) return;
    // Too late, or on a chain that went back: the next look says what is to be done.
    await takeTurn(people, employment.ending, view).catch(unlessRefused);
  }
}

/** Again, when it is refused: a sign-in whose answer was lost cannot be sent a second time. */
async function patiently<T>(ask: () => Promise<T>, isOver: () => boolean): Promise<T> {
  for (; !isOver(); await sleep(LOOK_MS)) {
    const answer = await ask().then((value) => ({ value }), unlessRefused);
    if (answer !== undefined) return answer.value;
  }
  throw new TimeIsOver();
}

async function takeTurn({ client, provider, arbitrator }: People, ending: Ending, { jobId, state }: JobView): Promise<unknown> {
  if (state === "requested" || state === "hire_failed") return client.hire(jobId, { most: BUDGET });
  if (state === "funded") return ending === "given_up" ? provider.reject(jobId) : provider.submit(jobId, WORK);
  if (state === "submitted" && ending === "acceptance") return client.accept(jobId);
  if (state === "submitted" && (ending === "ruling" || ending === "default")) return client.dispute(jobId, { description: "It is not a page." });
  if (state === "disputed" && ending === "ruling") return arbitrator.rule(jobId, { providerBps: 6_000, reason: "most of a page" });
  return undefined; // the relayers' turn
}

function unlessRefused(error: unknown): undefined {
  if (!(error instanceof TallystickError)) throw error;
}

function unlessOver(error: unknown): void {
  if (!(error instanceof TimeIsOver)) throw error;
}
