// A receipt as everybody may read it: its texts (payment id, scheme, resource: URLs can hold secrets) by their hashes. EIP-712 hashes
// texts too, so the digest under a root can still be made from it. Pure.
import { concat, encodeAbiParameters, hashDomain, keccak256, stringToHex, type Hex } from "viem";
import type { WireReceipt } from "./receipt.ts";
import { firstReceiptTypes, receiptTypes, type ReceiptDomain } from "./typed-data.ts";

type Field = (typeof receiptTypes.Receipt)[number];
type TextField = Extract<Field, { type: "string" }>["name"];
const TEXTS = receiptTypes.Receipt.flatMap((field) => (field.type === "string" ? [field.name] : []));

/** Numbers are decimal strings; `texts` are keccak-256 of UTF-8. */
export type PublicReceipt = Omit<WireReceipt, TextField> & { texts: Record<TextField, Hex> };

export function publicReceipt(receipt: WireReceipt): PublicReceipt {
  const texts = TEXTS.map((name) => [name, keccak256(stringToHex(receipt[name]))] as const);
  const rest = Object.fromEntries(Object.entries(receipt).filter(([name]) => !(TEXTS as string[]).includes(name)));
  return { ...rest, texts: Object.fromEntries(texts) } as PublicReceipt;
}

/**
 * The digest of the receipt that this was made of (receiptHash).
 * @throws viem errors, or SyntaxError, when a field is not what its type says.
 */
export function publicReceiptHash(domain: ReceiptDomain, receipt: PublicReceipt): Hex {
  const fields: readonly Field[] = receipt.offer === undefined ? firstReceiptTypes.Receipt : receiptTypes.Receipt;
  const type = `Receipt(${fields.map((field) => `${field.type} ${field.name}`).join(",")})`;
  const words = fields.map(({ name, type }) => (type === "string" ? receipt.texts[name as TextField] : valueOf(type, (receipt as unknown as Record<string, string>)[name]!)));
  const types = fields.map(({ type }) => ({ type: type === "string" ? "bytes32" : type }));
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
