// The tree over the receipts of a claim whose root rides in claimPacked: OpenZeppelin's standard Merkle tree over ["bytes32"] of
// receipt digests (receiptHash). BazaarRegistry.isReceiptProven checks the same proofs on chain.
import { keccak256, type Hex } from "viem";
import { TallystickError } from "./errors.ts";
import { merkleProof, merkleRoot, merkleTree } from "./merkle.ts";

/** Hashed twice, so that no inner node passes for a leaf. */
export function receiptLeaf(receiptHash: Hex): Hex {
  return keccak256(keccak256(receiptHash));
}

/** Errors: `invalid_receipts` without any. */
export function receiptsRoot(receiptHashes: readonly Hex[]): Hex {
  return treeOf(receiptHashes)[0]!;
}

/** Errors: `invalid_receipts`, `receipt_not_found`. */
export function receiptProof(receiptHashes: readonly Hex[], receiptHash: Hex): Hex[] {
  const proof = merkleProof(treeOf(receiptHashes), receiptLeaf(receiptHash));
  if (proof === undefined) throw refusal("receipt_not_found", 404, `${receiptHash} is not among the ${receiptHashes.length} receipts`);
  return proof;
}

/** Whether a proof leads from the receipt to the root, as the contract checks it. */
export function isReceiptProven(root: Hex, receiptHash: Hex, proof: readonly Hex[]): boolean {
  return merkleRoot(receiptLeaf(receiptHash), proof) === root;
}

function treeOf(receiptHashes: readonly Hex[]): Hex[] {
  if (receiptHashes.length === 0) throw refusal("invalid_receipts", 400, "no receipt: a root of none would say nothing");
  return merkleTree(receiptHashes.map(receiptLeaf));
}

function refusal(code: string, status: number, detail: string): TallystickError {
  return new TallystickError({ code, status, retry: "never", detail, field: "receipts" });
}
