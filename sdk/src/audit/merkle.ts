// Merkle trees as in RFC 6962 (Certificate Transparency): sha-256, leaves and nodes told apart by a byte before them, so that no node can
// pass for a leaf. Used for the entries of a seal and the seals of an anchor.
import { sha256 as viemSha256 } from "viem";

export type Sha256 = (bytes: Uint8Array) => Uint8Array;

/** Works everywhere; a server passes its native one. */
export const portableSha256: Sha256 = (bytes) => viemSha256(bytes, "bytes");

const LEAF = 0;
const NODE = 1;

export function leafHash(sha256: Sha256, leaf: Uint8Array): Uint8Array {
  const framed = new Uint8Array(1 + leaf.length);
  framed[0] = LEAF;
  framed.set(leaf, 1);
  return sha256(framed);
}

function nodeHash(sha256: Sha256, left: Uint8Array, right: Uint8Array): Uint8Array {
  const framed = new Uint8Array(65);
  framed[0] = NODE;
  framed.set(left, 1);
  framed.set(right, 33);
  return sha256(framed);
}

/** All levels, the leaves' hashes first, the root alone last. An odd one is carried up as it is. @throws RangeError without leaves. */
export function merkleLevels(leaves: readonly Uint8Array[], sha256: Sha256 = portableSha256): Uint8Array[][] {
  if (leaves.length === 0) throw new RangeError("a Merkle tree has a leaf");
  const levels = [leaves.map((leaf) => leafHash(sha256, leaf))];
  for (let below = levels[0]!; below.length > 1; below = levels.at(-1)!) {
    const above: Uint8Array[] = [];
    for (let at = 0; at < below.length; at += 2) above.push(at + 1 < below.length ? nodeHash(sha256, below[at]!, below[at + 1]!) : below[at]!);
    levels.push(above);
  }
  return levels;
}

export function merkleRoot(leaves: readonly Uint8Array[], sha256: Sha256 = portableSha256): Uint8Array {
  return merkleLevels(leaves, sha256).at(-1)![0]!;
}

/** What stands beside the way from leaf `index` up to the root; levels where nothing does are left out. */
export function merkleProof(levels: readonly (readonly Uint8Array[])[], index: number): Uint8Array[] {
  const proof: Uint8Array[] = [];
  for (let level = 0, at = index; level < levels.length - 1; level += 1, at >>= 1) {
    const sibling = levels[level]![at ^ 1];
    if (sibling !== undefined) proof.push(sibling);
  }
  return proof;
}

/** The root that a proof leads to; undefined when it has not as many parts as leaf `index` of `count` needs. */
export function rootByProof(leaf: Uint8Array, index: number, count: number, proof: readonly Uint8Array[], sha256: Sha256 = portableSha256): Uint8Array | undefined {
  if (!Number.isSafeInteger(index) || index < 0 || index >= count) return undefined;
  let hash = leafHash(sha256, leaf);
  let used = 0;
  for (let at = index, width = count; width > 1; at >>= 1, width = (width + 1) >> 1) {
    if (at % 2 === 0 && at === width - 1) continue; // the odd one
    const sibling = proof[used++];
    if (sibling === undefined) return undefined;
    hash = at % 2 === 0 ? nodeHash(sha256, hash, sibling) : nodeHash(sha256, sibling, hash);
  }
  return used === proof.length ? hash : undefined;
}
