// The payees of a mandate as a Merkle tree: the tree, leaves and proofs of OpenZeppelin's StandardMerkleTree over ["address"].
import { encodeAbiParameters, isAddress, keccak256, zeroHash, type Address, type Hex } from "viem";
import { TallystickError } from "./errors.ts";
import { merkleProof, merkleRoot, merkleTree } from "./merkle.ts";

/** A payee's leaf: hashed twice, so that no leaf can pass for an inner node. */
export function payeeLeaf(payee: Address): Hex {
  return keccak256(keccak256(encodeAbiParameters([{ type: "address" }], [payee])));
}

/**
 * Root of the tree of these payees, in whatever order. An empty list is refused: its natural root, zero, allows every payee.
 * Errors: `invalid_payees`.
 */
export function payeesRoot(payees: readonly Address[]): Hex {
  return treeOf(payees)[0]!;
}

/** Proof that `payee` is one of `payees`; empty when it is the only one. Errors: `invalid_payees`, `payee_not_allowed`. */
export function payeeProof(payees: readonly Address[], payee: Address): Hex[] {
  const tree = treeOf(payees);
  const proof = isAddress(payee, { strict: false }) ? merkleProof(tree, payeeLeaf(payee)) : undefined;
  if (proof === undefined) throw refusal("payee_not_allowed", 403, `${payee} is not among the ${payees.length} payees`);
  return proof;
}

/** Whether a proof leads from the payee to the root, as the contract checks it; a zero root allows every payee. */
export function isPayeeProven(root: Hex, payee: Address, proof: readonly Hex[]): boolean {
  return root === zeroHash || merkleRoot(payeeLeaf(payee), proof) === root;
}

function treeOf(payees: readonly Address[]): Hex[] {
  const wrong = payees.find((payee) => !isAddress(payee, { strict: false }));
  if (wrong !== undefined) throw refusal("invalid_payees", 400, `${wrong} is not an address`);
  if (payees.length === 0) throw refusal("invalid_payees", 400, "no payee: to allow every payee is the zero root, and must be said so");
  return merkleTree(payees.map(payeeLeaf));
}

function refusal(code: string, status: number, detail: string): TallystickError {
  return new TallystickError({ code, status, retry: "never", detail, field: "payees" });
}
