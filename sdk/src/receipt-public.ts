// A receipt as everybody may read it: its texts (payment id, scheme, resource: URLs can hold secrets) by their hashes. EIP-712 hashes
// texts too, so the digest under a root can still be made from it. Pure.
import { concat, encodeAbiParameters, hashDomain, keccak256, stringToHex, type Hex } from "viem";
import type { WireReceipt } from "./receipt.ts";
import { receiptTypes, type ReceiptDomain } from "./typed-data.ts";

const FIELDS = receiptTypes.Receipt;
type TextField = Extract<(typeof FIELDS)[number], { type: "string" }>["name"];

/** Numbers are decimal strings; `texts` are keccak-256 of UTF-8. */
export type PublicReceipt = Omit<WireReceipt, TextField> & { texts: Record<TextField, Hex> };

export function publicReceipt(receipt: WireReceipt): PublicReceipt {
  const texts = FIELDS.filter(({ type }) => type === "string").map(({ name }) => [name, keccak256(stringToHex(receipt[name] as string))] as const);
  const hidden = new Set<string>(texts.map(([name]) => name));
  const rest = Object.fromEntries(Object.entries(receipt).filter(([name]) => !hidden.has(name)));
  return { ...rest, texts: Object.fromEntries(texts) } as PublicReceipt;
}

/**
 * The digest of the receipt that this was made of (receiptHash).
 * @throws viem errors, or SyntaxError, when a field is not what its type says.
 */
export function publicReceiptHash(domain: ReceiptDomain, receipt: PublicReceipt): Hex {
  const type = `Receipt(${FIELDS.map((field) => `${field.type} ${field.name}`).join(",")})`;
  const words = FIELDS.map(({ name, type }) => (type === "string" ? receipt.texts[name as TextField] : valueOf(type, (receipt as unknown as Record<string, string>)[name]!)));
  const types = FIELDS.map(({ type }) => ({ type: type === "string" ? "bytes32" : type }));
  const struct = keccak256(encodeAbiParameters([{ type: "bytes32" }, ...types], [keccak256(stringToHex(type)), ...words]));
  return keccak256(concat(["0x1901", separatorOf(domain), struct]));
}

const valueOf = (type: string, value: string | number): unknown => (type.startsWith("uint") ? BigInt(value) : value);

function separatorOf(domain: ReceiptDomain): Hex {
  return hashDomain({
    domain: { ...domain, chainId: BigInt(domain.chainId) },
    types: { EIP712Domain: [{ name: "name", type: "string" }, { name: "version", type: "string" }, { name: "chainId", type: "uint256" }, { name: "verifyingContract", type: "address" }] },
  });
}
