// Voucher files: JSON lines, appended and on the disk before they count. A provider that has its file and its receiver key needs neither
// relayer nor database to be paid (`tallystick claim <file>`). Holds no key; whoever reads it learns amounts and payers.
import { mkdir, open, readFile, rename, rm, type FileHandle } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import type { Hex } from "viem";
import { TallystickError } from "../errors.ts";
import { isNewer, readVoucherLine, type VoucherLine } from "./voucher-line.ts";

/** Rewritten, with the newest line of each channel alone, when it has this many lines and then four for each channel. */
const COMPACT_LINES = 1_000;
const COMPACT_FACTOR = 4;

export type VoucherFile = {
  /** The newest line of a channel. */
  newest(channelId: Hex): VoucherLine | undefined;
  /** Adds what is newer than what is there. @returns how many lines, once they are on the disk. */
  append(lines: readonly VoucherLine[]): Promise<number>;
  close(): Promise<void>;
};

/**
 * The newest line of each channel in a file. A line that a crash cut off is left out; the one before it stands.
 * @throws Error of the file system when it cannot be read.
 */
export async function readVouchers(path: string): Promise<VoucherLine[]> {
  return [...newestOf(await readFile(path, "utf8")).newest.values()];
}

function newestOf(text: string): { newest: Map<Hex, VoucherLine>; lines: number } {
  const newest = new Map<Hex, VoucherLine>();
  let lines = 0;
  for (const written of text.split("\n")) {
    if (written.trim() === "") continue;
    lines += 1;
    const line = lineIn(written);
    if (line !== undefined && isNewer(line, newest.get(line.channelId))) newest.set(line.channelId, line);
  }
  return { newest, lines };
}

function lineIn(written: string): VoucherLine | undefined {
  try {
    return readVoucherLine(JSON.parse(written));
  } catch (error) {
    if (error instanceof SyntaxError || error instanceof TallystickError) return undefined; // cut off
    throw error;
  }
}

/** Opens it for one writer, made when it is not there. @throws TallystickError `voucher_file_busy`: another process writes it. */
export async function openVoucherFile(file: string): Promise<VoucherFile> {
  const path = resolve(file);
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  const unlock = await lock(`${path}.lock`);
  try {
    return await openLocked(path, unlock);
  } catch (error) {
    await unlock();
    throw error;
  }
}

async function openLocked(path: string, unlock: () => Promise<void>): Promise<VoucherFile> {
  let { newest, lines } = newestOf(await readOrEmpty(path));
  // From a clean file on: no line is ever glued to one that was cut off.
  let handle = await rewrite(path, newest);
  lines = newest.size;
  let last: Promise<unknown> = Promise.resolve();

  const write = async (given: readonly VoucherLine[]): Promise<number> => {
    const fresh = new Map<Hex, VoucherLine>();
    for (const line of given) if (isNewer(line, fresh.get(line.channelId) ?? newest.get(line.channelId))) fresh.set(line.channelId, line);
    if (fresh.size === 0) return 0;
    try {
      await handle.appendFile(textOf(fresh.values()));
      await handle.datasync();
    } catch (error) {
      // Part of it may be there: begin again from what is known to be.
      await handle.close().catch(() => {});
      handle = await rewrite(path, newest);
      lines = newest.size;
      throw error;
    }
    for (const [channelId, line] of fresh) newest.set(channelId, line);
    lines += fresh.size;
    if (lines > COMPACT_LINES + COMPACT_FACTOR * newest.size) {
      await handle.close();
      handle = await rewrite(path, newest);
      lines = newest.size;
    }
    return fresh.size;
  };
  return {
    newest: (channelId) => newest.get(channelId),
    append(given) {
      const written = last.then(() => write(given));
      last = written.catch(() => {}); // told to whoever waits for `written`
      return written;
    },
    async close() {
      await last;
      await handle.close();
      await unlock();
    },
  };
}

const textOf = (lines: Iterable<VoucherLine>): string => [...lines].map((line) => `${JSON.stringify(line)}\n`).join("");

/** Puts a whole new file in the old one's place; a crash leaves either. @returns it, open for appending. */
async function rewrite(path: string, newest: ReadonlyMap<Hex, VoucherLine>): Promise<FileHandle> {
  const next = `${path}.next`;
  const handle = await open(next, "w", 0o600);
  try {
    await handle.writeFile(textOf(newest.values()));
    await handle.sync();
  } finally {
    await handle.close();
  }
  await rename(next, path);
  await syncFolder(dirname(path));
  return open(path, "a", 0o600);
}

/** The name itself has to be on the disk. Windows knows no such thing. */
async function syncFolder(folder: string): Promise<void> {
  if (process.platform === "win32") return;
  const handle = await open(folder, "r");
  await handle.sync().finally(() => handle.close());
}

async function readOrEmpty(path: string): Promise<string> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return "";
    throw error;
  }
}

const ours = new Set<string>();

async function lock(path: string): Promise<() => Promise<void>> {
  const busy = (holder: string) => new TallystickError({ code: "voucher_file_busy", status: 500, retry: "never", detail: `${path.slice(0, -".lock".length)} is written by process ${holder}; give each process a file of its own.` });
  if (ours.has(path)) throw busy(String(process.pid));
  for (let attempt = 0; ; attempt++) {
    try {
      const handle = await open(path, "wx", 0o600);
      await handle.writeFile(String(process.pid));
      await handle.close();
      ours.add(path);
      return async () => {
        ours.delete(path);
        await rm(path, { force: true });
      };
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    }
    const holder = (await readOrEmpty(path)).trim();
    // In a container every run has the same process id: not held by us, so left behind by an earlier one.
    if (attempt > 0 || (holder !== String(process.pid) && isAlive(Number(holder)))) throw busy(holder);
    await rm(path, { force: true });
  }
}

function isAlive(pid: number): boolean {
  if (!Number.isSafeInteger(pid) || pid <= 0) return false;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}
