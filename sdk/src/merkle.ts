// OpenZeppelin's standard Merkle tree, as arrays of hashes: payees of a mandate, receipts of a claim.
import { concat, keccak256, zeroHash, type Hex } from "viem";

/**
 * A complete binary tree of those leaves, the root first: node i has the children 2i + 1 and 2i + 2, the leaves are at the end.
 * Order and repetition of leaves are of no matter. There must be at least one.
 */
export function merkleTree(given: readonly Hex[]): Hex[] {
  const leaves = [...new Set(given)].sort().reverse();
  const inner = leaves.length - 1;
  const tree: Hex[] = [...Array<Hex>(inner).fill(zeroHash), ...leaves];
  for (let node = inner - 1; node >= 0; node--) tree[node] = hashPair(tree[2 * node + 1]!, tree[2 * node + 2]!);
  return tree;
}

/** Proof of a leaf; undefined when the tree has no such leaf. */
export function merkleProof(tree: readonly Hex[], leaf: Hex): Hex[] | undefined {
  let node = tree.lastIndexOf(leaf);
  if (node < (tree.length - 1) / 2) return undefined;
  const proof: Hex[] = [];
  for (; node > 0; node = (node - 1) >> 1) proof.push(tree[node % 2 === 1 ? node + 1 : node - 1]!);
  return proof;
}

/** The root that a proof leads to from a leaf. */
export function merkleRoot(leaf: Hex, proof: readonly Hex[]): Hex {
  return proof.reduce(hashPair, leaf);
}

/** Of a sorted pair, so that a proof need not say left or right. */
function hashPair(a: Hex, b: Hex): Hex {
  return keccak256(concat(a < b ? [a, b] : [b, a]));
}
