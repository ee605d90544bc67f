// A guard that is killed at a named point, as a process of its own: argv is the journal, the point (or none), how often it is passed first.
import { openJournal } from "../../sdk/src/guard/journal-node.ts";
import { createGuard } from "../../sdk/src/guard/guard.ts";
import { LOCAL_MANDATE_REGISTRY, SESSION_CHANNELS } from "../../sdk/src/constants.ts";
import { serveGuard } from "../../sdk/src/guard/server-node.ts";

const [path, point, passes] = process.argv.slice(2);
let left = Number(passes ?? 0);

function reached(name: string): void {
  if (name !== point) return;
  if (left-- === 0) process.kill(process.pid, "SIGKILL");
}

const store = await openJournal(path!, { reached });
const guard = createGuard({ store, master: `0x${"77".repeat(32)}`, chainId: 84532, registry: LOCAL_MANDATE_REGISTRY, channels: SESSION_CHANNELS, reached });
const server = await serveGuard(guard);
process.send!({ url: server.url });
process.on("disconnect", () => process.exit(0));
