// The log as JSON lines that anybody can check offline (sdk/src/audit/verify.ts, `tallystick audit verify`). Read page by page: a reader
// that is slow holds nothing up and no memory grows.
import { createHash, type Hash } from "node:crypto";
import { bytesToHex, type Address, type Hex } from "viem";
import type { AuditLine, EpochLine, HeaderLine } from "../../../../sdk/src/audit/lines.ts";
import { merkleLevels, merkleProof } from "../../../../sdk/src/audit/merkle.ts";
import { auditDomain } from "../../../../sdk/src/typed-data.ts";
import type { Deps } from "../../deps.ts";
import { nativeSha256 } from "./encoding.ts";
import { entryCursor, sealCursor } from "./logic.ts";
import * as store from "./read-store.ts";
import type { EntryPosition, ReadEntry, ReadSeal, SealPosition } from "./read-store.ts";

export type ExportDeps = Pick<Deps, "config" | "db" | "keyring" | "now">;

const SEALS = 100;
const ENTRIES = 500;
/** Trees that are kept at hand: entries of one seal are mostly asked for together. */
const TREES = 8;

/** Everything, from a seal on, at most so many seals. Ends where it was when it began. */
export async function* exportAll(deps: ExportDeps, after: SealPosition | undefined, mostSeals: number): AsyncGenerator<string> {
  const file = createFile(deps);
  const below = await store.settledBelow(deps.db);
  yield file.line(headerOf(deps, "all", after === undefined ? null : sealCursor(after)));
  const opened = new Set<bigint>();
  let at = after ?? store.BEGINNING;
  let anchored = at.xid;
  const anchors = await store.anchorsAfter(deps.db, at.xid, below);
  const anchorsBefore = function* (xid: bigint): Generator<string> {
    while (anchors[0] !== undefined && anchors[0].toXid <= xid) {
      const { day, seals, root, contract, transaction, toXid } = anchors.shift()!;
      anchored = toXid;
      yield file.line({ type: "anchor", day: String(day), seals: String(seals), root, contract, transaction });
    }
  };
  for (let left = mostSeals; left > 0; ) {
    const seals = await store.sealsAfter(deps.db, at, below, Math.min(SEALS, left));
    for (const seal of seals) {
      yield* anchorsBefore(seal.xid);
      if (!opened.has(seal.epochNo)) yield file.line(await epochLine(deps, seal));
      opened.add(seal.epochNo);
      const entries = await store.entriesOf(deps.db, seal);
      yield entries.map((entry) => file.raw(entryLine(seal, entry))).join("");
      yield file.line(sealLine(seal));
      at = seal;
    }
    left -= seals.length;
    if (seals.length < SEALS && left > 0) {
      yield* anchorsBefore(below);
      break;
    }
  }
  yield await file.end(sealCursor(anchored > at.xid ? { xid: anchored - 1n, epochNo: MOST, number: MOST } : at));
}

const MOST = 9_223_372_036_854_775_807n;

/** What concerns one party, each entry with its proof; other entries of its seals stay hidden behind their hashes. */
export async function* exportParty(deps: ExportDeps, party: Address, after: EntryPosition | undefined, mostEntries: number): AsyncGenerator<string> {
  const file = createFile(deps);
  yield file.line(headerOf(deps, party, after === undefined ? null : entryCursor(after)));
  const opened = new Set<bigint>();
  const proofs = createProofs(deps);
  let at = after;
  for (let left = mostEntries; left > 0; ) {
    const entries = await store.entriesOfParty(deps.db, party, at, Math.min(ENTRIES, left));
    for (const [index, entry] of entries.entries()) {
      const { seal, ...proof } = await proofs(entry);
      if (!opened.has(seal.epochNo)) yield file.line({ type: "epoch", epoch: seal.epoch, opened: JSON.parse(seal.opened) });
      opened.add(seal.epochNo);
      yield file.raw(entryLine(seal, entry, proof));
      const next = entries[index + 1];
      if (next === undefined || !covers(seal, next)) yield file.line(sealLine(seal));
      at = entry;
    }
    left -= entries.length;
    if (entries.length < ENTRIES) break;
  }
  yield await file.end(at === undefined ? "" : entryCursor(at));
}

const covers = ({ epochNo, firstSeq, entries }: ReadSeal, { epochNo: of, seq }: ReadEntry): boolean => of === epochNo && seq >= firstSeq && seq < firstSeq + entries;

/** The file that is being written: every byte goes into its digest, and its last line is signed. */
function createFile({ config, keyring, now }: ExportDeps) {
  const digest: Hash = createHash("sha256");
  let lines = 0;
  const raw = (json: string): string => {
    digest.update(`${json}\n`);
    lines += 1;
    return `${json}\n`;
  };
  return {
    raw,
    line: (line: AuditLine) => raw(JSON.stringify(line)),
    async end(cursor: string): Promise<string> {
      const signer = keyring.signerFor(keyring.active);
      const message = { digest: bytesToHex(digest.digest()), lines: BigInt(lines + 1), cursor, exportedAtMs: BigInt(now().getTime()) };
      const signature = await signer.signAuditExport(auditDomain(config.chainId, config.sessionChannels), message);
      const end: AuditLine = { type: "end", lines: String(message.lines), cursor, digest: message.digest, exportedAtMs: String(message.exportedAtMs), signer: signer.address, signature };
      return `${JSON.stringify(end)}\n`;
    },
  };
}

function headerOf({ config }: ExportDeps, scope: HeaderLine["scope"], after: string | null): HeaderLine {
  return { type: "audit", version: 1, chainId: config.chainId, contract: config.sessionChannels, relayer: config.publicUrl, scope, after };
}

async function epochLine({ db }: ExportDeps, { epochNo, number, epoch, opened }: ReadSeal): Promise<EpochLine> {
  const line: EpochLine = { type: "epoch", epoch, opened: JSON.parse(opened) };
  if (number === 1n) return line;
  const before = await store.findSeal(db, epochNo, number - 1n);
  if (before === undefined) throw new Error("invariant: seals of an epoch have no gaps");
  return { ...line, from: { seals: String(before.number), seq: String(before.firstSeq + before.entries - 1n), head: before.head, previous: before.digest } };
}

type Proof = { previous: Hex; proof: Hex[] };

/** The body goes out as it is stored: it is canonical already. */
function entryLine({ epoch }: ReadSeal, { body, hash }: ReadEntry, proof?: Proof): string {
  const rest = proof === undefined ? "" : `,"previous":"${proof.previous}","proof":${JSON.stringify(proof.proof)}`;
  return `{"type":"entry","epoch":"${epoch}","entry":${body},"hash":"${bytesToHex(hash)}"${rest}}`;
}

function sealLine({ epoch, number, firstSeq, entries, previous, root, head, sealedAtMs, signer, signature }: ReadSeal): AuditLine {
  return { type: "seal", epoch, number: String(number), firstSeq: String(firstSeq), entries: String(entries), previous, root, head, sealedAtMs: String(sealedAtMs), signer, signature };
}

type Tree = { seal: ReadSeal; hashes: Buffer[]; levels: Uint8Array[][]; /** Of the entry before the first. */ before: Hex };

/** @returns what gives the proof of an entry. */
export function createProofs({ db }: Pick<Deps, "db">): (entry: ReadEntry) => Promise<Proof & { seal: ReadSeal }> {
  const trees: Tree[] = [];
  async function treeOf(entry: ReadEntry): Promise<Tree> {
    const known = trees.find(({ seal }) => covers(seal, entry));
    if (known !== undefined) return known;
    const seal = await store.sealOver(db, entry);
    const hashes = (await store.entriesOf(db, seal)).map(({ hash }) => hash);
    const before = seal.number === 1n ? seal.epoch : (await store.findSeal(db, seal.epochNo, seal.number - 1n))!.head;
    const tree = { seal, hashes, levels: merkleLevels(hashes, nativeSha256), before };
    trees.unshift(tree);
    trees.length = Math.min(trees.length, TREES);
    return tree;
  }
  return async (entry) => {
    const { seal, hashes, levels, before } = await treeOf(entry);
    const index = Number(entry.seq - seal.firstSeq);
    return { seal, previous: index === 0 ? before : bytesToHex(hashes[index - 1]!), proof: merkleProof(levels, index).map((part) => bytesToHex(part)) };
  };
}
