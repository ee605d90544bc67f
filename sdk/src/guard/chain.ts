// The guard's view of the registry, at most a second old. When the chain cannot be asked in time it says so, and nothing is signed.
import { zeroHash, type Address, type Hex } from "viem";
import type { ChainReader } from "../agent/chain.ts";
import { mandateIdOf, mandateRegistryDomain } from "../mandate.ts";
import { readLineage, type LineageOnChain } from "../registry.ts";
import type { Lineage } from "../lineage.ts";
import type { GuardChain } from "./guard.ts";
import type { Refusal } from "./logic.ts";

/** A view this old is as good as new: a revocation counts a second later at most. */
const FRESH_MS = 1_000;
const TIMEOUT_MS = 5_000;
const ERC1271_MAGIC = "0x1626ba7e";
const erc1271Abi = [{ type: "function", name: "isValidSignature", stateMutability: "view", inputs: [{ name: "hash", type: "bytes32" }, { name: "signature", type: "bytes" }], outputs: [{ name: "", type: "bytes4" }] }] as const;

export function guardChain(reader: ChainReader, chainId: number, registry: Address, options: { freshMs?: number; timeoutMs?: number; now?: () => number } = {}): GuardChain {
  const { freshMs = FRESH_MS, timeoutMs = TIMEOUT_MS, now = () => performance.now() } = options;
  const seen = new Map<Hex, { atMs: number; view: Promise<LineageOnChain> }>();

  function view(lineage: Lineage, ids: readonly Hex[]): Promise<LineageOnChain> {
    const key = ids[0] ?? zeroHash;
    const known = seen.get(key);
    const nowMs = now();
    if (known !== undefined && nowMs - known.atMs < freshMs) return known.view;
    const read = within(readLineage(reader, registry, lineage, ids), timeoutMs);
    seen.set(key, { atMs: nowMs, view: read });
    // What could not be read is not remembered: the next request asks again.
    read.catch(() => seen.get(key)?.view === read && seen.delete(key));
    return read;
  }

  return {
    async look(lineage, ids) {
      try {
        const onChain = await view(lineage, ids);
        return { refusal: ended(lineage, ids, onChain), nowS: onChain.nowS };
      } catch {
        return { refusal: { code: "mandate_unverifiable", rule: "mandate.chain", reason: "The chain cannot say now whether the mandate still stands; nothing is signed.", retry: "safe" }, nowS: 0 };
      }
    },
    async wallet(address, mandate, signature) {
      const hash = mandateIdOf(mandateRegistryDomain(chainId, registry), mandate);
      try {
        return (await reader.readContract({ address, abi: erc1271Abi, functionName: "isValidSignature", args: [hash, signature] })) === ERC1271_MAGIC;
      } catch {
        return false; // no contract wallet, or one that refuses
      }
    },
  };
}

function ended(lineage: Lineage, ids: readonly Hex[], { states, epoch }: LineageOnChain): Refusal | undefined {
  const revoked = states.findIndex((state) => state.revoked);
  if (revoked >= 0) return { code: "mandate_revoked", rule: "mandate.revoked", reason: `The mandate ${ids[revoked]} is revoked on chain.` };
  const signedFor = lineage[0].mandate.epoch;
  if (signedFor !== epoch) return { code: "mandate_revoked", rule: "mandate.epoch", reason: `The mandate is of epoch ${signedFor}; its principal is in ${epoch}.` };
  return undefined;
}

async function within<T>(work: Promise<T>, timeoutMs: number): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, failed) => {
    timer = setTimeout(() => failed(new Error("the chain did not answer in time")), timeoutMs);
  });
  return Promise.race([work, late]).finally(() => clearTimeout(timer));
}
