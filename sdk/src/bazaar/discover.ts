// Finding services through a relayer. What it answers is a copy of the chain and a stranger's words: compare terms with the registry before
// money depends on them, and escape texts before they are shown.
import type { Address, Hex } from "viem";
import { TallystickError, type Retry } from "../errors.ts";
import type { Pricing, Sla } from "./metadata.ts";

/** What is asked for; everything may be left out. */
export type DiscoverQuestion = {
  /** Words, with "phrases" and -exclusions. */
  text?: string;
  /** Tag, such as "web.search". */
  capability?: string;
  category?: string;
  /** Whole tokens, decimal: "0.01". */
  maxPrice?: string;
  /** Milliseconds, of nine in ten answers. */
  maxResponseTime?: number;
  /** 0 to 100; what nobody scored is left out. */
  minRating?: number;
  /** Percent. */
  uptime?: number;
  scheme?: string;
  token?: Address;
  owner?: Address;
  payTo?: Address;
  /** Of a page, 1 to 100. */
  limit?: number;
  cursor?: string;
};

export type RankFactor = { factor: string; weight: number; value: number; contribution: number; why: string };

export type FoundAgent = {
  serviceId: Hex;
  name: string;
  description: string;
  capability: string;
  categories: string[];
  /** Where it is called and paid. */
  url: string;
  /** Decimal, whole tokens. */
  price: string;
  priceAtomic: string;
  /** What the price buys. */
  unit: Pricing["unit"];
  token: Address;
  network: string;
  schemes: string[];
  payTo: Address;
  owner: Address;
  availability: "online" | "offline" | "busy";
  availableAt: string | null;
  /** Promised. */
  sla: Sla | null;
  /** By the relayer's probes; null: not measured. */
  measured: { uptimePercent: number | null; p50Ms: number | null; p90Ms: number | null; p99Ms: number | null; priceHonestyPercent: number | null };
  reputation: ({ overall: number; trust?: string } & Record<string, unknown>) | null;
  terms: { version: number; contentHash: Hex; metadata: string };
  /** The score is the sum of the contributions. */
  rank: { score: number; factors: RankFactor[] };
};

export type Discovered = {
  agents: FoundAgent[];
  /** How the text was compared. */
  method: "lexical" | "semantic";
  /** Cursor of the next page. */
  next: string | null;
  /** True: the relayer does not know all services of the chain now. */
  partialResults: boolean;
};

export type ServiceHealthView = {
  serviceId: Hex;
  probes: number;
  since: string | null;
  lastProbedAt: string | null;
  uptimePercent: number | null;
  p50Ms: number | null;
  p90Ms: number | null;
  p99Ms: number | null;
  priceHonestyPercent: number | null;
  /** Not shown by search, since when and for which fault. */
  hidden: { since: string; reason: string } | null;
  history: { at: string; kind: "terms" | "canary"; ok: boolean; status: number | null; latencyMs: number; priceHonest: boolean | null; fault: string | null; paidAtomic: string }[];
};

export type DiscoveryClient = ReturnType<typeof createDiscoveryClient>;

const TIMEOUT_MS = 30_000;

/** Every method throws TallystickError: `relayer_unreachable`, or the relayer's own code with the field. */
export function createDiscoveryClient({ relayerUrl, fetch: ask = fetch }: { relayerUrl: string; fetch?: typeof fetch }) {
  const base = relayerUrl.replace(/\/+$/, "");

  async function call<T>(path: string, body?: unknown): Promise<T> {
    const init = body === undefined ? {} : { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) };
    const response = await ask(base + path, { ...init, signal: AbortSignal.timeout(TIMEOUT_MS) }).catch((cause: unknown) => {
      throw new TallystickError({ code: "relayer_unreachable", status: 503, retry: "safe", detail: `${base} cannot be reached.`, cause });
    });
    const answer = (await response.json().catch(() => ({}))) as T & { code?: string; detail?: string; retry?: Retry; field?: string };
    if (response.ok) return answer;
    const { code = "relayer_failed", detail = `The relayer answered ${response.status}.`, retry = "unknown", field } = answer;
    throw new TallystickError({ code, status: response.status, retry, detail, ...(field === undefined ? {} : { field }) });
  }

  const discover = (question: DiscoverQuestion = {}): Promise<Discovered> => call("/api/v1/a2a/discover", question);
  return {
    /** A page, best first. */
    discover,
    /** For a task in words; `method` says how it was compared. */
    recommend: (task: string, question: Omit<DiscoverQuestion, "text"> = {}): Promise<Discovered> => call("/api/v1/a2a/recommend", { ...question, task }),
    /** All of them, page by page. */
    async *all(question: DiscoverQuestion = {}): AsyncGenerator<FoundAgent> {
      for (let cursor: string | undefined = question.cursor; ; ) {
        const { agents, next } = await discover({ ...question, ...(cursor === undefined ? {} : { cursor }) });
        yield* agents;
        if (next === null) return;
        cursor = next;
      }
    },
    /** What the relayer's probes saw of a service, by its id or name. */
    health: (idOrName: string): Promise<ServiceHealthView> => call(`/api/v1/agents/${encodeURIComponent(idOrName)}/health`),
  };
}
