// A folder under .local/ for one running world. Two worlds at once (a test beside `npm start`) get two folders; a world
// that ended, however it ended, leaves its folder to the next one, which finds the database cluster ready made.
import { mkdir, open, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { isAlive } from "./process.ts";

export type Slot = { folder: string; release(): Promise<void> };

const HOME = fileURLToPath(new URL("../../.local/", import.meta.url));

export async function takeSlot(): Promise<Slot> {
  for (let number = 0; ; number++) {
    const folder = join(HOME, `world-${number}`);
    await mkdir(folder, { recursive: true });
    const lock = join(folder, "pid");
    if (await take(lock)) return { folder, release: () => rm(lock, { force: true }) };
  }
}

async function take(lock: string): Promise<boolean> {
  const owner = Number(await readFile(lock, "utf8").catch(() => "0"));
  if (owner > 0 && owner !== process.pid && isAlive(owner)) return false;
  await rm(lock, { force: true });
  // "wx": of two processes that saw the same dead owner, one creates the file.
  const file = await open(lock, "wx").catch(() => undefined);
  if (file === undefined) return false;
  await file.writeFile(String(process.pid));
  await file.close();
  return true;
}
