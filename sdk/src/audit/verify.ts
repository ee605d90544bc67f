// Is an exported audit log whole and unchanged? Offline: every hash, every seal and its signature, every anchor's root, and the signature
// over the file itself. Stops at the first line that is wrong and says which. What the anchors say on chain is for whoever asks the chain.
import { bytesToHex, hexToBytes, isAddressEqual, recoverAddress, type Address, type Hex } from "viem";
import { auditDomain, type AuditDomain } from "../typed-data.ts";
import { canonicalJson } from "./canonical.ts";
import { entryHash, epochHash, exportDigest, sealDigest } from "./chain.ts";
import { readLine, sealOf, type AnchorLine, type AuditLine, type EndLine, type EntryLine, type EpochLine, type HeaderLine, type SealLine } from "./lines.ts";
import { merkleRoot, rootByProof, type Sha256 } from "./merkle.ts";

export type AuditFault =
  /** Not JSON, or not such a line. */
  | "line_malformed"
  /** Not where it belongs: no header first, an epoch that was not opened, lines after the end. */
  | "line_misplaced"
  /** An entry is missing, comes twice or in another order. */
  | "sequence_broken"
  /** An entry, or one before it, was changed. */
  | "hash_mismatch"
  | "epoch_mismatch"
  | "proof_mismatch"
  /** The seal does not cover what is before it: something was removed, added or changed. */
  | "seal_mismatch"
  | "signature_invalid"
  | "signer_unexpected"
  | "anchor_mismatch"
  /** Some byte before the last line was changed. */
  | "digest_mismatch"
  /** The last line is not the end line, or entries are not sealed. */
  | "truncated";

export type AuditVerdict = {
  /** The first bad line, counted from 1; undefined when all is well. */
  fault: { line: number; code: AuditFault; detail: string } | undefined;
  scope: string;
  lines: number;
  entries: number;
  seals: number;
  epochs: number;
  anchors: { day: string; root: Hex; contract: Address; transaction: Hex; /** False for one whose seals begin before this file. */ checked: boolean }[];
  signers: Address[];
  /** Entries by kind. */
  kinds: Record<string, number>;
};

export type AuditHashing = { sha256: Sha256; /** Over everything that was passed to update. */ running(): { update(bytes: Uint8Array): void; digest(): Uint8Array } };

class Fault extends Error {
  readonly code: AuditFault;
  constructor(code: AuditFault, detail: string) {
    super(detail);
    this.code = code;
  }
}

type Epoch = { seals: bigint; seq: bigint; head: Uint8Array; previous: Hex; open: { line: EntryLine; hash: Uint8Array }[]; /** Of a party's file: what has been seen, in whatever order. */ seen: Set<bigint> };

/**
 * @param lines without their line ends, in order.
 * @param signers who may have signed; anybody when empty, and then the verdict only says who did.
 */
export async function verifyAudit(lines: AsyncIterable<string> | Iterable<string>, hashing: AuditHashing, signers: readonly Address[] = []): Promise<AuditVerdict> {
  const verifier = new Verifier(hashing, signers);
  const { verdict } = verifier;
  try {
    for await (const line of lines) {
      verdict.lines += 1;
      await verifier.take(line);
    }
    verdict.lines += 1;
    verifier.finish();
    verdict.lines -= 1;
  } catch (error) {
    if (!(error instanceof Fault)) throw error;
    verdict.fault = { line: verdict.lines, code: error.code, detail: error.message };
  }
  return verdict;
}

class Verifier {
  readonly verdict: AuditVerdict = { fault: undefined, scope: "", lines: 0, entries: 0, seals: 0, epochs: 0, anchors: [], signers: [], kinds: {} };
  readonly #hashing: AuditHashing;
  readonly #signers: readonly Address[];
  readonly #digest: ReturnType<AuditHashing["running"]>;
  readonly #epochs = new Map<Hex, Epoch>();
  readonly #text = new TextEncoder();
  #header: HeaderLine | undefined;
  #domain: AuditDomain | undefined;
  #unanchored: Uint8Array[] = [];
  #ended = false;

  constructor(hashing: AuditHashing, signers: readonly Address[]) {
    this.#hashing = hashing;
    this.#signers = signers;
    this.#digest = hashing.running();
  }

  async take(written: string): Promise<void> {
    const line = readLine(written);
    if (typeof line === "string") throw new Fault("line_malformed", `The line ${line}.`);
    if (this.#ended) throw new Fault("line_misplaced", "The file goes on after its end.");
    if ((this.#header === undefined) !== (line.type === "audit")) throw new Fault("line_misplaced", "A file has one header, and it is the first line.");
    await this.#one(line);
    if (!this.#ended) this.#digest.update(this.#text.encode(`${written}\n`));
  }

  finish(): void {
    if (!this.#ended) throw new Fault("truncated", "The file ends before its end line: it was cut off.");
  }

  async #one(line: AuditLine): Promise<void> {
    if (line.type === "audit") return this.#begin(line);
    if (line.type === "epoch") return this.#open(line);
    if (line.type === "entry") return this.#entry(line);
    if (line.type === "seal") return this.#seal(line);
    if (line.type === "anchor") return this.#anchor(line);
    return this.#end(line);
  }

  #begin(line: HeaderLine): void {
    this.#header = line;
    this.#domain = auditDomain(line.chainId, line.contract);
    this.verdict.scope = line.scope;
  }

  get #whole(): boolean {
    return this.#header!.scope === "all";
  }

  #open({ epoch, opened, from }: EpochLine): void {
    if (this.#epochs.has(epoch)) throw new Fault("line_misplaced", `Epoch ${epoch} is opened twice.`);
    if (bytesToHex(epochHash(canonicalJson(opened), this.#hashing.sha256)) !== epoch) throw new Fault("epoch_mismatch", "The epoch is not the hash of what it was opened with.");
    if (opened.chainId !== this.#header!.chainId || opened.contract.toLowerCase() !== this.#header!.contract.toLowerCase()) throw new Fault("epoch_mismatch", "The epoch is of another chain or contract than the file.");
    if (from !== undefined && this.#header!.after === null) throw new Fault("sequence_broken", "The epoch does not begin at its beginning, and the file does not say that it goes on after another.");
    const start = from ?? { seals: "0", seq: "0", head: epoch, previous: epoch };
    this.#epochs.set(epoch, { seals: BigInt(start.seals), seq: BigInt(start.seq), head: hexToBytes(start.head), previous: start.previous, open: [], seen: new Set() });
    this.verdict.epochs += 1;
  }

  #known(hash: Hex): Epoch {
    const epoch = this.#epochs.get(hash);
    if (epoch === undefined) throw new Fault("line_misplaced", `Epoch ${hash} has not been opened.`);
    return epoch;
  }

  #entry(line: EntryLine): void {
    const epoch = this.#known(line.epoch);
    const seq = BigInt(line.entry.seq);
    if (this.#whole ? seq !== epoch.seq + 1n : epoch.seen.has(seq)) throw new Fault("sequence_broken", `Entry ${seq} comes after ${epoch.seq}: an entry is missing, doubled or moved.`);
    if (!this.#whole && (line.previous === undefined || line.proof === undefined)) throw new Fault("line_malformed", "In a party's file an entry has its previous hash and its proof.");
    const before = line.previous === undefined ? epoch.head : hexToBytes(line.previous);
    const hash = entryHash(before, this.#canonical(line), this.#hashing.sha256);
    if (bytesToHex(hash) !== line.hash || (this.#whole && line.previous !== undefined && line.previous !== bytesToHex(epoch.head))) throw new Fault("hash_mismatch", `Entry ${seq} does not have the hash it is told to have.`);
    epoch.seq = seq;
    epoch.head = hash;
    if (!this.#whole) epoch.seen.add(seq);
    epoch.open.push({ line, hash });
    this.verdict.entries += 1;
    this.verdict.kinds[line.entry.kind] = (this.verdict.kinds[line.entry.kind] ?? 0) + 1;
  }

  #canonical({ entry }: EntryLine): string {
    try {
      return canonicalJson(entry);
    } catch {
      throw new Fault("line_malformed", "The entry holds a value that no entry holds.");
    }
  }

  async #seal(line: SealLine): Promise<void> {
    const epoch = this.#known(line.epoch);
    const seal = sealOf(line);
    if (this.#whole) this.#checkWhole(epoch, line);
    else this.#checkParts(epoch, line);
    const digest = sealDigest(this.#domain!, seal);
    await this.#checkSigner(digest, line);
    epoch.seals = seal.number;
    epoch.previous = bytesToHex(digest);
    epoch.open = [];
    this.#unanchored.push(digest);
    this.verdict.seals += 1;
  }

  #checkWhole(epoch: Epoch, line: SealLine): void {
    const { number, firstSeq, entries, previous, root, head } = sealOf(line);
    const wrong = (what: string) => new Fault("seal_mismatch", `Seal ${number} ${what}.`);
    if (number !== epoch.seals + 1n || previous !== epoch.previous) throw wrong(`does not follow seal ${epoch.seals}`);
    if (entries !== BigInt(epoch.open.length) || entries === 0n) throw wrong(`covers ${entries} entries, and ${epoch.open.length} are here`);
    if (BigInt(epoch.open[0]!.line.entry.seq) !== firstSeq) throw wrong("begins with another entry");
    if (bytesToHex(epoch.head) !== head) throw wrong("ends with another entry");
    if (bytesToHex(merkleRoot(epoch.open.map(({ hash }) => hash), this.#hashing.sha256)) !== root) throw wrong("has another root than its entries");
  }

  /** Of a party's file: each entry is one of those that the seal covers. */
  #checkParts(epoch: Epoch, line: SealLine): void {
    const { number, firstSeq, entries, root } = sealOf(line);
    if (epoch.open.length === 0) throw new Fault("seal_mismatch", `Seal ${number} covers no entry of this file.`);
    for (const { line: { entry, proof = [] }, hash } of epoch.open) {
      const index = BigInt(entry.seq) - firstSeq;
      const found = index < 0n || index >= entries ? undefined : rootByProof(hash, Number(index), Number(entries), proof.map((part) => hexToBytes(part)), this.#hashing.sha256);
      if (found === undefined || bytesToHex(found) !== root) throw new Fault("proof_mismatch", `Entry ${entry.seq} is not proved to be under seal ${number}.`);
    }
  }

  #anchor({ day, seals, root, contract, transaction }: AnchorLine): void {
    // The seals of the first anchor may begin before the file does.
    const checked = !(this.#header!.after !== null && this.verdict.anchors.length === 0 && BigInt(this.#unanchored.length) < BigInt(seals));
    if (checked && (BigInt(this.#unanchored.length) !== BigInt(seals) || this.#unanchored.length === 0)) throw new Fault("anchor_mismatch", `The anchor of ${day} is over ${seals} seals, and ${this.#unanchored.length} are here.`);
    if (checked && bytesToHex(merkleRoot(this.#unanchored, this.#hashing.sha256)) !== root) throw new Fault("anchor_mismatch", `The anchor of ${day} has another root than its seals.`);
    this.#unanchored = [];
    this.verdict.anchors.push({ day, root, contract, transaction, checked });
  }

  async #end(line: EndLine): Promise<void> {
    for (const [hash, { open }] of this.#epochs) if (open.length > 0) throw new Fault("truncated", `${open.length} entries of epoch ${hash} are under no seal.`);
    if (BigInt(line.lines) !== BigInt(this.verdict.lines)) throw new Fault("digest_mismatch", `The file had ${line.lines} lines, this one is line ${this.verdict.lines}.`);
    if (bytesToHex(this.#digest.digest()) !== line.digest) throw new Fault("digest_mismatch", "Something before this line is not as it was exported.");
    await this.#checkSigner(exportDigest(this.#domain!, { digest: line.digest, lines: BigInt(line.lines), cursor: line.cursor, exportedAtMs: BigInt(line.exportedAtMs) }), line);
    this.#ended = true;
  }

  async #checkSigner(digest: Uint8Array, { signer, signature }: { signer: Address; signature: Hex }): Promise<void> {
    const found = await recoverAddress({ hash: bytesToHex(digest), signature }).catch(() => undefined);
    if (found === undefined || !isAddressEqual(found, signer)) throw new Fault("signature_invalid", `The signature is not ${signer}'s of what is here.`);
    if (this.#signers.length > 0 && !this.#signers.some((allowed) => isAddressEqual(allowed, found))) throw new Fault("signer_unexpected", `Signed by ${found}, who is none of those expected.`);
    if (!this.verdict.signers.includes(found)) this.verdict.signers.push(found);
  }
}
