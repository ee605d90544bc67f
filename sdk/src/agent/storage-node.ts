// The agent's record in a file, for Node. Readable by its owner only: it names channels and signed amounts, no keys.
import { mkdir, readFile, rename, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import type { AgentStorage } from "./storage.ts";

/** One process at a time may use a file. */
export function fileStorage(path: string): AgentStorage {
  let last: Promise<unknown> = Promise.resolve();
  return {
    async load() {
      try {
        return await readFile(path, "utf8");
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
        throw error;
      }
    },
    save(text) {
      const written = last.then(() => replace(path, text));
      last = written.catch(() => {}); // told to whoever waits for `written`
      return written;
    },
  };
}

async function replace(path: string, text: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  await writeFile(`${path}.next`, text, { mode: 0o600, flush: true });
  await rename(`${path}.next`, path);
}
