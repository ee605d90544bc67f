// What an operator says about search: who makes vectors of texts, and how services are looked at.
import { privateKeyToAccount } from "viem/accounts";
import type { Hex } from "viem";
import type { Read } from "./fee-config.ts";

export type DiscoveryConfig = {
  /** OpenAI-compatible endpoint that makes vectors; undefined: recommendations are lexical. */
  embeddings: { url: string; model: string; key: string | undefined } | undefined;
  /** Between two looks at a service, seconds; 0: the prober is off. */
  probePeriodS: number;
  /** Pays the canary calls; undefined: none is made. */
  canaryKey: Hex | undefined;
  /** What canary calls may cost a UTC day, atomic units; and one of them. */
  canaryBudgetAtomic: bigint;
  canaryMostAtomic: bigint;
};

export const DISCOVERY_KEYS: { name: string; about: string; fallback: string; secret?: true }[] = [
  { name: "RELAYER_EMBEDDINGS_URL", about: "OpenAI-compatible embeddings endpoint, up to /v1; recommendations are semantic with it, lexical without; its texts are the public metadata of services and what is asked for", fallback: "" },
  { name: "RELAYER_EMBEDDINGS_MODEL", about: "its model", fallback: "text-embedding-3-small" },
  { name: "RELAYER_EMBEDDINGS_KEY", about: "its bearer token", fallback: "", secret: true },
  { name: "RELAYER_PROBE_PERIOD_S", about: "seconds between two looks at a listed service; 0: none", fallback: "300" },
  { name: "RELAYER_PROBE_KEY", about: "private key that pays canary calls to listed services; empty: none are made", fallback: "", secret: true },
  { name: "RELAYER_PROBE_BUDGET", about: "what canary calls may cost a UTC day, atomic token units", fallback: "1000000" },
  { name: "RELAYER_PROBE_MAX_PRICE", about: "dearest canary call, atomic token units", fallback: "10000" },
];

export function readDiscoveryConfig({ parse, integer }: Read): DiscoveryConfig {
  const url = parse<string>("RELAYER_EMBEDDINGS_URL", readBase, "an http or https URL without query", "");
  const model = parse<string>("RELAYER_EMBEDDINGS_MODEL", (value) => (/^[\x21-\x7e]{1,128}$/.test(value) ? value : undefined), "1 to 128 printable characters", "");
  const key = parse<string>("RELAYER_EMBEDDINGS_KEY", (value) => (/^[\x21-\x7e]{0,512}$/.test(value) ? value : undefined), "printable characters without spaces", "") || undefined;
  const amount = (name: string) => parse<bigint>(name, (value) => (/^\d{1,38}$/.test(value) ? BigInt(value) : undefined), "atomic units", 0n);
  return {
    embeddings: url === "" ? undefined : { url, model, key },
    probePeriodS: integer("RELAYER_PROBE_PERIOD_S", 0, 86_400),
    canaryKey: (parse<string>("RELAYER_PROBE_KEY", readOptionalKey, "a 32-byte hex private key", "") || undefined) as Hex | undefined,
    canaryBudgetAtomic: amount("RELAYER_PROBE_BUDGET"),
    canaryMostAtomic: amount("RELAYER_PROBE_MAX_PRICE"),
  };
}

function readBase(value: string): string | undefined {
  if (value === "") return "";
  if (!URL.canParse(value)) return undefined;
  const { protocol, search, hash, username, href } = new URL(value);
  return /^https?:$/.test(protocol) && search === "" && hash === "" && username === "" ? href.replace(/\/+$/, "") : undefined;
}

function readOptionalKey(value: string): string | undefined {
  if (value === "") return "";
  try {
    if (/^0x[0-9a-fA-F]{64}$/.test(value)) return privateKeyToAccount(value as Hex) && value;
  } catch {
    // zero or not below the curve order
  }
  return undefined;
}
