// sdk/src/receipt-tree.ts in bulk: the same roots and proofs (a property test compares them) over digests that lie side by side in one
// buffer, hashed by the fast keccak, and in portions, so that a tree of 100,000 receipts holds nobody up.
import { setImmediate } from "node:timers/promises";
import { keccak } from "./keccak.ts";

const WORD = 32;
/** Hashes between two breaths: some milliseconds. */
const PORTION = 1_000;

/** A tree as sdk/src/merkle.ts lays it out: the root first, leaves at the end. */
export type ReceiptTree = { nodes: Buffer; root: Buffer };

/** @param digests of receipts, at least one. */
export async function receiptTree(digests: Buffer): Promise<ReceiptTree> {
  const breathe = breather();
  const leaves = await sortedLeaves(digests, breathe);
  const inner = leaves.length - 1;
  const nodes = Buffer.alloc(WORD * (2 * leaves.length - 1));
  leaves.forEach((leaf, index) => nodes.set(leaf, WORD * (inner + index)));
  const pair = Buffer.alloc(2 * WORD);
  for (let node = inner - 1; node >= 0; node--) {
    nodes.set(hashPair(pair, at(nodes, 2 * node + 1), at(nodes, 2 * node + 2)), WORD * node);
    await breathe();
  }
  return { nodes, root: at(nodes, 0) };
}

/** Undefined when the receipt of that digest is not in the tree. */
export function proofIn({ nodes }: ReceiptTree, digest: Buffer): Buffer[] | undefined {
  const leaf = leafOf(digest);
  const last = nodes.length / WORD - 1;
  let node = last / 2;
  while (node <= last && !at(nodes, node).equals(leaf)) node += 1;
  if (node > last) return undefined;
  const proof: Buffer[] = [];
  for (; node > 0; node = (node - 1) >> 1) proof.push(at(nodes, node % 2 === 1 ? node + 1 : node - 1));
  return proof;
}

const at = (nodes: Buffer, node: number): Buffer => nodes.subarray(WORD * node, WORD * (node + 1));
const leafOf = (digest: Uint8Array): Buffer => Buffer.from(keccak(keccak(digest)));

function hashPair(into: Buffer, a: Buffer, b: Buffer): Uint8Array {
  const ordered = a.compare(b) < 0;
  into.set(ordered ? a : b, 0);
  into.set(ordered ? b : a, WORD);
  return keccak(into);
}

/** Each once, the greatest first: by first byte and then within, so that no single sort is long. */
async function sortedLeaves(digests: Buffer, breathe: Breathe): Promise<Buffer[]> {
  const buckets: Buffer[][] = Array.from({ length: 256 }, () => []);
  for (let start = 0; start < digests.length; start += WORD) {
    const leaf = leafOf(digests.subarray(start, start + WORD));
    buckets[leaf[0]!]!.push(leaf);
    await breathe();
  }
  const leaves: Buffer[] = [];
  for (const bucket of buckets.reverse()) {
    for (const leaf of bucket.sort((a, b) => b.compare(a))) if (leaves.at(-1)?.equals(leaf) !== true) leaves.push(leaf);
    await breathe(bucket.length);
  }
  return leaves;
}

export type Breathe = (work?: number) => Promise<void>;

/** Gives the thread away after every so much work, in hashes. */
export function breather(): Breathe {
  let left = PORTION;
  return async (work = 1) => {
    left -= work;
    if (left > 0) return;
    left = PORTION;
    await setImmediate();
  };
}
