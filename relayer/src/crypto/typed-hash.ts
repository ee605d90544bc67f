// EIP-712 prepared once: type hashes, the domain separator and an encoder a field, so that hashing a message is writing words
// into one buffer and two keccaks. The same digests as viem's hashTypedData (a property test compares them for every type we
// sign), and like it a value that does not fit its type is refused, never truncated. Address checksums are not looked at.
import type { TypedDataDomain } from "viem";
import { createBoundedCache } from "./bounded-cache.ts";
import { keccak } from "./keccak.ts";

export type Field = { readonly name: string; readonly type: string };
export type Types = { readonly [struct: string]: readonly Field[] };
export type Message = { readonly [field: string]: unknown };
/** The 32-byte digest of a message: what is signed. */
export type TypedHash = (message: Message) => Uint8Array;

/** Writes a value as one 32-byte word. @throws RangeError when the value does not fit the type. */
type Encode = (into: Buffer, at: number, value: unknown) => void;

const WORD = 32;
const DOMAIN_FIELDS: readonly Field[] = [
  { name: "name", type: "string" },
  { name: "version", type: "string" },
  { name: "chainId", type: "uint256" },
  { name: "verifyingContract", type: "address" },
  { name: "salt", type: "bytes32" },
];

export function prepare(domain: TypedDataDomain, types: Types, primaryType: string): TypedHash {
  const separator = domainSeparator(domain);
  const hashStruct = structHasher(types, primaryType);
  const preimage = Buffer.alloc(2 + 2 * WORD);
  preimage.set([0x19, 0x01]);
  preimage.set(separator, 2);
  return (message) => {
    preimage.set(hashStruct(message), 2 + WORD);
    return keccak(preimage);
  };
}

/** `prepare` for callers that get the domain with every message: prepared once for each of the few domains there are. */
export function preparedByDomain(types: Types, primaryType: string): (domain: TypedDataDomain) => TypedHash {
  const prepared = createBoundedCache<string, TypedHash>(64);
  return (domain) => {
    const key = `${domain.chainId}|${domain.verifyingContract}|${domain.salt}|${domain.version}|${domain.name}`;
    const known = prepared.get(key);
    if (known !== undefined) return known;
    const hash = prepare(domain, types, primaryType);
    prepared.set(key, hash);
    return hash;
  };
}

export function domainSeparator(domain: TypedDataDomain): Uint8Array {
  const fields = DOMAIN_FIELDS.filter(({ name }) => domain[name as keyof TypedDataDomain] !== undefined);
  return structHasher({ EIP712Domain: fields }, "EIP712Domain")(domain as Message);
}

/** `Name(type a,type b)`, and after it the structs it uses, sorted by name. */
export function encodeType(types: Types, primaryType: string): string {
  const used = new Set<string>();
  const visit = (struct: string): void => {
    if (used.has(struct)) return;
    used.add(struct);
    for (const { type } of fieldsOf(types, struct)) if (types[elementOf(type)] !== undefined) visit(elementOf(type));
  };
  visit(primaryType);
  used.delete(primaryType);
  return [primaryType, ...[...used].sort()].map((struct) => `${struct}(${fieldsOf(types, struct).map(({ name, type }) => `${type} ${name}`).join(",")})`).join("");
}

const elementOf = (type: string): string => type.replace(/(\[\d*\])+$/, "");

function fieldsOf(types: Types, struct: string): readonly Field[] {
  const fields = types[struct];
  if (fields === undefined) throw new RangeError(`There is no typed-data struct ${struct}.`);
  return fields;
}

// ------------------------------------------------------------------ structs

function structHasher(types: Types, struct: string, within: readonly string[] = []): (message: Message) => Uint8Array {
  if (within.includes(struct)) throw new RangeError(`${struct} contains itself.`);
  const fields = fieldsOf(types, struct);
  const encoders = fields.map(({ type }) => encoderOf(types, type, [...within, struct]));
  // Shared by all messages: a struct is hashed from start to end at once, and no struct contains itself.
  const encoded = Buffer.alloc(WORD * (1 + fields.length));
  encoded.set(keccak(Buffer.from(encodeType(types, struct))));
  return (message) => {
    for (let i = 0; i < fields.length; i++) {
      const { name, type } = fields[i]!;
      try {
        encoders[i]!(encoded, WORD * (1 + i), message[name]);
      } catch (cause) {
        throw new RangeError(`${struct}.${name} is no ${type}.`, { cause });
      }
    }
    return keccak(encoded);
  };
}

function encoderOf(types: Types, type: string, within: readonly string[]): Encode {
  if (type.endsWith("[]")) return arrayEncoder(encoderOf(types, type.slice(0, -2), within));
  if (types[type] !== undefined) {
    const hash = structHasher(types, type, within);
    return (into, at, value) => into.set(hash(value as Message), at);
  }
  if (type === "address") return (into, at, value) => writeHex(into, at + 12, 20, value);
  if (type === "string") return (into, at, value) => into.set(stringHash(value), at);
  if (type === "bytes") return (into, at, value) => into.set(keccak(bytesOf(value)), at);
  if (type === "bool") return (into, at, value) => into.set([bit(value)], at + WORD - 1);
  const bits = /^uint(\d+)$/.exec(type)?.[1];
  if (bits !== undefined) return uintEncoder(Number(bits));
  const size = /^bytes([1-9]|[12]\d|3[0-2])$/.exec(type)?.[1];
  if (size !== undefined) return (into, at, value) => writeHex(into, at, Number(size), value);
  throw new RangeError(`${type} is not among the types that are hashed here.`);
}

function arrayEncoder(encode: Encode): Encode {
  return (into, at, value) => {
    if (!Array.isArray(value)) throw new RangeError("not an array");
    const elements = Buffer.alloc(WORD * value.length);
    value.forEach((element, i) => encode(elements, WORD * i, element));
    into.set(keccak(elements), at);
  };
}

// ------------------------------------------------------------------ words

/** Writes 0x-prefixed hex of exactly `size` bytes. */
export function writeHex(into: Buffer, at: number, size: number, value: unknown): void {
  if (typeof value !== "string" || value.length !== 2 + 2 * size || !value.startsWith("0x")) throw new RangeError(`not ${size} bytes of hex`);
  // Stops at the first character that is no hex digit.
  if (into.write(value.slice(2), at, size, "hex") !== size) throw new RangeError("not hex");
}

function bytesOf(value: unknown): Uint8Array {
  if (value instanceof Uint8Array) return value;
  if (typeof value !== "string" || value.length % 2 !== 0) throw new RangeError("not bytes");
  const bytes = Buffer.alloc(value.length / 2 - 1);
  writeHex(bytes, 0, bytes.length, value);
  return bytes;
}

function bit(value: unknown): 0 | 1 {
  if (typeof value !== "boolean") throw new RangeError("not a boolean");
  return value ? 1 : 0;
}

const LOW_64 = (1n << 64n) - 1n;

function uintEncoder(bits: number): Encode {
  const max = (1n << BigInt(bits)) - 1n;
  return (into, at, value) => {
    const number = typeof value === "number" && Number.isSafeInteger(value) ? BigInt(value) : value;
    if (typeof number !== "bigint" || number < 0n || number > max) throw new RangeError(`not ${bits} bits`);
    writeUint(into, at, number);
  };
}

/** Writes an unsigned number below 2^256 as one word. */
export function writeUint(into: Buffer, at: number, value: bigint): void {
  if (value <= LOW_64) {
    into.fill(0, at, at + 24);
    into.writeBigUInt64BE(value, at + 24);
    return;
  }
  for (let word = 3, rest = value; word >= 0; word--, rest >>= 64n) into.writeBigUInt64BE(rest & LOW_64, at + 8 * word);
}

// ------------------------------------------------------------------ strings

/** Schemes, networks and resources come again with every call. */
const REMEMBERED = 4096;
const LONGEST_REMEMBERED = 256;
const remembered = createBoundedCache<string, Uint8Array>(REMEMBERED);

function stringHash(value: unknown): Uint8Array {
  if (typeof value !== "string") throw new RangeError("not a string");
  if (value.length > LONGEST_REMEMBERED) return keccak(Buffer.from(value));
  const known = remembered.get(value);
  if (known !== undefined) return known;
  const hash = keccak(Buffer.from(value));
  remembered.set(value, hash);
  return hash;
}
