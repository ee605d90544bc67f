// The local guard's accounts in one file: lines of JSON, appended only, each with the hash of the one before, and on the disk before
// anything that follows from it leaves. Rebuilt at the start; a last line that a crash cut off counts as never written, because its
// signature never left. One process at a time.
import { createHash, randomBytes } from "node:crypto";
import { mkdir, open, readFile, rename, rm, type FileHandle } from "node:fs/promises";
import { dirname } from "node:path";
import type { Hex } from "viem";
import { TallystickError } from "../errors.ts";
import { parseLineage, toWireLineage, type GrantWire, type Lineage } from "../lineage.ts";
import type { ChannelConfig } from "../typed-data.ts";
import { EMPTY_CHANNEL, EMPTY_MANDATE, type Accounts, type MandateAccount } from "./logic.ts";
import type { AuditRow, Change, ChannelRecord, GuardStore, RefusalEntry, Scope } from "./store.ts";

type Wire = { spent: string; period: number; periodSpent: string };
type Body =
  | { kind: "opened"; version: 1; instance: Hex }
  | { kind: "mandate"; id: Hex; lineage: GrantWire[] }
  | { kind: "signed"; mandateId: Hex; channelId: Hex; config?: ChannelConfig; highest: string; approved: string; mandates: [Hex, Wire][]; answered: { digest: Hex; expiresAt: number; ceiling: string; price: string; url: string }[] }
  | ({ kind: "refused"; unwritten?: number } & RefusalEntry)
  | { kind: "policy"; owner: string; name: string; version: number; policyHash: Hex };
export type JournalEntry = { seq: number; prev: Hex; at: number; body: Body; hash: Hex };

export type JournalPoint = "journal.appending" | "journal.appended" | "journal.synced";

/** A thief may ask as often as it likes; the disk is not for it to fill. What is over is counted in the next line. */
const REFUSALS_A_MINUTE = 600;

const GENESIS: Hex = `0x${"0".repeat(64)}`;

/**
 * @throws TallystickError `guard_journal_busy` (another process has it), `guard_journal_corrupt` (a line that is not the last was changed).
 */
export async function openJournal(path: string, options: { reached?: (point: JournalPoint) => void; now?: () => Date } = {}): Promise<JournalStore> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  const lock = await FileLock.take(`${path}.lock`);
  try {
    const file = await open(path, "a+", 0o600);
    const { entries, goodBytes } = readJournal(await readFile(path));
    await file.truncate(goodBytes);
    const store = new JournalStore(file, lock, options);
    for (const entry of entries) store.replay(entry);
    if (entries.length === 0) await store.begin();
    // The file's name too has to outlast a power cut.
    const folder = await open(dirname(path), "r");
    await folder.sync().finally(() => folder.close());
    return store;
  } catch (error) {
    await lock.release();
    throw error;
  }
}

/** The entries of a journal and how many bytes of it count. @throws TallystickError `guard_journal_corrupt`. */
export function readJournal(bytes: Buffer): { entries: JournalEntry[]; goodBytes: number } {
  const entries: JournalEntry[] = [];
  let prev = GENESIS;
  for (let start = 0; start < bytes.length; ) {
    const end = bytes.indexOf(0x0a, start);
    const entry = end < 0 ? undefined : readLine(bytes.subarray(start, end), prev, entries.length);
    if (entry === undefined) {
      // Only the end may be torn: whatever stands behind a bad line was written after it was on the disk.
      if (end >= 0 && end + 1 < bytes.length) throw new TallystickError({ code: "guard_journal_corrupt", status: 500, retry: "never", detail: `Line ${entries.length + 1} of the guard's journal is not what was written; nothing is signed on such accounts.` });
      return { entries, goodBytes: start };
    }
    entries.push(entry);
    prev = entry.hash;
    start = end + 1;
  }
  return { entries, goodBytes: bytes.length };
}

function readLine(line: Buffer, prev: Hex, seq: number): JournalEntry | undefined {
  try {
    const entry = JSON.parse(line.toString("utf8")) as JournalEntry;
    return entry.prev === prev && entry.seq === seq && entry.hash === hashOf(entry) ? entry : undefined;
  } catch {
    return undefined; // no JSON: torn
  }
}

function hashOf({ seq, prev, at, body }: Omit<JournalEntry, "hash">): Hex {
  return `0x${createHash("sha256").update(JSON.stringify([seq, prev, at, body])).digest("hex")}`;
}

type Waiting = { done: () => void; failed: (error: unknown) => void };

export class JournalStore implements GuardStore {
  instance: Hex = GENESIS;
  readonly #file: FileHandle;
  readonly #lock: FileLock;
  readonly #reached: (point: JournalPoint) => void;
  readonly #now: () => Date;
  readonly #lineages = new Map<Hex, Lineage>();
  readonly #mandates = new Map<Hex, MandateAccount>();
  readonly #channels = new Map<Hex, ChannelRecord & { mandateId: Hex }>();
  readonly #answered = new Map<Hex, number>();
  readonly #policies = new Map<string, { version: number; policyHash: Hex }>();
  #seq = 0;
  #head: Hex = GENESIS;
  #lines: string[] = [];
  #waiting: Waiting[] = [];
  #writing: Promise<void> | undefined;
  #broken: TallystickError | undefined;
  #refusals = { minute: 0, written: 0, unwritten: 0 };

  constructor(file: FileHandle, lock: FileLock, { reached = () => {}, now = () => new Date() }: { reached?: (point: JournalPoint) => void; now?: () => Date }) {
    this.#file = file;
    this.#lock = lock;
    this.#reached = reached;
    this.#now = now;
  }

  async begin(): Promise<void> {
    await this.#append({ kind: "opened", version: 1, instance: `0x${randomBytes(32).toString("hex")}` });
  }

  replay(entry: JournalEntry): void {
    this.#seq = entry.seq + 1;
    this.#head = entry.hash;
    this.#apply(entry.body);
  }

  /** Memory is what the file says: both change here alone. */
  #apply(body: Body): void {
    if (body.kind === "opened") this.instance = body.instance;
    if (body.kind === "mandate") this.#lineages.set(body.id, parseLineage(body.lineage));
    if (body.kind === "policy") this.#policies.set(`${body.owner} ${body.name}`, { version: body.version, policyHash: body.policyHash });
    if (body.kind !== "signed") return;
    const config = body.config ?? this.#channels.get(body.channelId)!.config;
    this.#channels.set(body.channelId, { mandateId: body.mandateId, channelId: body.channelId, config, highest: BigInt(body.highest), approved: BigInt(body.approved) });
    for (const [id, { spent, period, periodSpent }] of body.mandates) this.#mandates.set(id, { spent: BigInt(spent), period, periodSpent: BigInt(periodSpent) });
    for (const { digest, expiresAt } of body.answered) this.#answered.set(digest, expiresAt);
  }

  async addLineage(id: Hex, lineage: Lineage): Promise<void> {
    if (this.#lineages.has(id)) return;
    await this.#append({ kind: "mandate", id, lineage: toWireLineage(lineage) });
  }

  async lineageOf(id: Hex): Promise<Lineage | undefined> {
    return this.#lineages.get(id);
  }

  async mandateIds(): Promise<Hex[]> {
    return [...this.#lineages.keys()];
  }

  async accounts(ids: readonly Hex[]): Promise<MandateAccount[]> {
    return ids.map((id) => this.#mandates.get(id) ?? EMPTY_MANDATE);
  }

  async channels(mandateId: Hex): Promise<ChannelRecord[]> {
    return [...this.#channels.values()].filter((channel) => channel.mandateId === mandateId);
  }

  /** A policy of that version is in force from now on. @throws TallystickError `policy_stale`: a newer one was, before. */
  async applyPolicy(policy: { owner: string; name: string; version: number; policyHash: Hex }): Promise<void> {
    const known = this.#policies.get(`${policy.owner} ${policy.name}`);
    if (known?.version === policy.version && known.policyHash === policy.policyHash) return;
    if (known !== undefined && known.version >= policy.version) {
      throw new TallystickError({ code: "policy_stale", status: 409, retry: "never", field: "policy.version", detail: `Version ${policy.version} of the policy ${policy.name} is not newer than ${known.version}, which was in force.` });
    }
    await this.#append({ kind: "policy", ...policy });
  }

  /** @throws TallystickError `policy_stale`: one that was in force is gone. Only a newer version ends a policy; it may allow everything. */
  requirePolicies(present: readonly { owner: string; name: string }[]): void {
    const names = new Set(present.map(({ owner, name }) => `${owner} ${name}`));
    const gone = [...this.#policies.keys()].find((known) => !names.has(known));
    if (gone === undefined) return;
    throw new TallystickError({ code: "policy_stale", status: 409, retry: "never", field: "policy", detail: `The policy ${gone.split(" ")[1]} was in force and is gone; nothing is signed without it.` });
  }

  async transact<T>({ ids, channelId, config, digests, nowS }: Scope, decide: (accounts: Accounts, answered: ReadonlySet<Hex>) => { outcome: T; change: Change | undefined }): Promise<T> {
    if (this.#broken !== undefined) throw this.#broken;
    this.#forget(nowS);
    const channel = this.#channels.get(channelId);
    const accounts: Accounts = { channel: channel ?? EMPTY_CHANNEL, mandates: ids.map((id) => this.#mandates.get(id) ?? EMPTY_MANDATE) };
    // From here to the append nothing awaits: nobody else can decide on the same accounts.
    const { outcome, change } = decide(accounts, new Set(digests.filter((digest) => this.#answered.has(digest))));
    if (change === undefined) {
      // An answer that is given again may rest on a line that is still on its way to the disk.
      await this.#flushed();
      return outcome;
    }
    await this.#append({
      kind: "signed", mandateId: ids[0]!, channelId, ...(channel === undefined ? { config } : {}), highest: String(change.channel.highest), approved: String(change.channel.approved),
      mandates: ids.map((id, level): [Hex, Wire] => [id, wireOf(change.mandates[level]!)]),
      answered: change.answered.map((one) => ({ ...one, ceiling: String(one.ceiling), price: String(one.price) })),
    });
    return outcome;
  }

  async recordRefusal(entry: RefusalEntry, nowS: number): Promise<AuditRow | undefined> {
    const minute = Math.floor(nowS / 60);
    const refusals = this.#refusals;
    if (refusals.minute !== minute) Object.assign(refusals, { minute, written: 0 });
    if (refusals.written >= REFUSALS_A_MINUTE) {
      refusals.unwritten += 1;
      return undefined;
    }
    refusals.written += 1;
    const { unwritten } = refusals;
    refusals.unwritten = 0;
    const { seq, hash } = await this.#append({ kind: "refused", ...entry, ...(unwritten === 0 ? {} : { unwritten }) });
    return { seq, hash };
  }

  async close(): Promise<void> {
    await this.#flushed().catch(() => {}); // told to those who waited for it
    this.#broken ??= new TallystickError({ code: "guard_closed", status: 503, retry: "safe", detail: "The guard is closed." });
    await this.#file.close();
    await this.#lock.release();
  }

  #forget(nowS: number): void {
    for (const [digest, expiresAt] of this.#answered) {
      // In the order of their coming, and none stands longer than a request may.
      if (expiresAt >= nowS) break;
      this.#answered.delete(digest);
    }
  }

  /** In memory at once, so that the next decision sees it; returns when it is on the disk. Lines that wait together share one sync. */
  #append(body: Body): Promise<JournalEntry> {
    if (this.#broken !== undefined) return Promise.reject(this.#broken);
    const head = { seq: this.#seq, prev: this.#head, at: this.#now().getTime(), body };
    const entry: JournalEntry = { ...head, hash: hashOf(head) };
    this.replay(entry);
    this.#lines.push(`${JSON.stringify(entry)}\n`);
    return this.#flushed().then(() => entry);
  }

  #flushed(): Promise<void> {
    if (this.#lines.length === 0 && this.#writing === undefined) return this.#broken === undefined ? Promise.resolve() : Promise.reject(this.#broken);
    const flushed = new Promise<void>((done, failed) => this.#waiting.push({ done, failed }));
    this.#writing ??= this.#write().finally(() => void (this.#writing = undefined));
    return flushed;
  }

  async #write(): Promise<void> {
    // One round later, so that requests that are being decided now share the sync.
    await Promise.resolve();
    while (this.#waiting.length > 0) {
      const [waiting, lines] = [this.#waiting, this.#lines];
      this.#waiting = [];
      this.#lines = [];
      try {
        await this.#lock.check();
        this.#reached("journal.appending");
        if (lines.length > 0) await this.#file.appendFile(lines.join(""));
        this.#reached("journal.appended");
        await this.#file.datasync();
        this.#reached("journal.synced");
        for (const { done } of waiting) done();
      } catch (cause) {
        // Memory is ahead of the file now: this process signs no more.
        this.#broken = cause instanceof TallystickError ? cause : new TallystickError({ code: "guard_journal_failed", status: 503, retry: "safe", detail: "The guard cannot write its journal; nothing is signed.", cause });
        for (const { failed } of [...waiting, ...this.#waiting]) failed(this.#broken);
        this.#waiting = [];
      }
    }
  }
}

const wireOf = ({ spent, period, periodSpent }: MandateAccount): Wire => ({ spent: String(spent), period, periodSpent: String(periodSpent) });

/** A file that names the process that holds it. */
class FileLock {
  readonly #path: string;
  readonly #token: string;

  private constructor(path: string, token: string) {
    this.#path = path;
    this.#token = token;
  }

  static async take(path: string): Promise<FileLock> {
    const token = `${process.pid} ${randomBytes(8).toString("hex")}`;
    for (let round = 0; round < 10; round++) {
      const file = await open(path, "wx", 0o600).catch((error: NodeJS.ErrnoException) => {
        if (error.code !== "EEXIST") throw error;
      });
      if (file !== undefined) {
        await file.writeFile(token);
        await file.close();
        return new FileLock(path, token);
      }
      const held = await readFile(path, "utf8").catch(() => "");
      const owner = Number(held.split(" ")[0]);
      // Just made: its owner is about to write its name.
      if (held === "" && round < 5) await new Promise((later) => setTimeout(later, 20));
      if (owner > 0 && isAlive(owner)) break;
      // Its owner was killed. Moved away first, so that of two who find it only one removes it; who moved a fresh one away puts it back.
      const aside = `${path}.${token.replace(" ", ".")}`;
      if (await rename(path, aside).then(() => true, () => false)) {
        if ((await readFile(aside, "utf8")) === held) await rm(aside);
        else await rename(aside, path);
      }
    }
    throw new TallystickError({ code: "guard_journal_busy", status: 503, retry: "safe", detail: `Another guard uses this journal (${path}).` });
  }

  /** @throws TallystickError `guard_journal_busy` when somebody else has taken it. */
  async check(): Promise<void> {
    if ((await readFile(this.#path, "utf8").catch(() => "")) === this.#token) return;
    throw new TallystickError({ code: "guard_journal_busy", status: 503, retry: "safe", detail: "Another guard has taken over the journal; this one signs no more." });
  }

  async release(): Promise<void> {
    if ((await readFile(this.#path, "utf8").catch(() => "")) === this.#token) await rm(this.#path, { force: true });
  }
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}
