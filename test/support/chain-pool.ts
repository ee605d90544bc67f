// Chains for tests, with the contracts in place. To start one costs three seconds of a core, so a suite that ends leaves its chain to the next
// of its process that asks for one like it: at the block it began with, its clock at now, no transaction waiting.
import { rpc, startChain, type ChainOptions, type LocalChain } from "../../scripts/local/chain.ts";
import { placeContracts } from "../../scripts/local/contracts.ts";
import { isAlive } from "../../scripts/local/process.ts";

type Kept = { chain: LocalChain; /** Of the block it began with. */ snapshot: string };

/** What blocks of one second come to beside a clock in seconds. */
const AHEAD_MOST_S = 3;

const parked = new Map<string, Kept[]>();

/** stop() gives it back. */
export async function leaseChain(options: ChainOptions = {}): Promise<LocalChain> {
  const like = JSON.stringify(options);
  const kept = (await goingOn(parked.get(like)?.pop(), options)) ?? (await begun(options));
  const { chain } = kept;
  return {
    ...chain,
    async stop() {
      const again = await wentBack(kept);
      if (again === undefined) return chain.stop();
      parked.set(like, [...(parked.get(like) ?? []), again]);
    },
  };
}

async function begun(options: ChainOptions): Promise<Kept> {
  const chain = await startChain(options);
  await placeContracts(chain.url);
  return { chain, snapshot: await rpc<string>(chain.url, "evm_snapshot") };
}

/** Undefined: it cannot be used again, and is to be ended. */
async function wentBack({ chain, snapshot }: Kept): Promise<Kept | undefined> {
  const { url, pid } = chain;
  if (!isAlive(pid)) return undefined;
  try {
    await rpc(url, "evm_setIntervalMining", [0]);
    for (const { hash } of await rpc<{ hash: string }[]>(url, "eth_pendingTransactions")) await rpc(url, "hardhat_dropTransaction", [hash]);
    if (!(await rpc<boolean>(url, "evm_revert", [snapshot]))) return undefined;
    await rpc(url, "evm_setAutomine", [true]);
    chain.letGo();
    return { chain, snapshot: await rpc<string>(url, "evm_snapshot") };
  } catch {
    return undefined; // a suite that broke its node
  }
}

async function goingOn(kept: Kept | undefined, options: ChainOptions): Promise<Kept | undefined> {
  if (kept === undefined || !isAlive(kept.chain.pid)) return undefined;
  // A node that does not answer any more, or whose clock a suite set forward, which nobody sets back: another is started.
  const goesOn = await setGoing(kept.chain.url, options).catch(() => false);
  if (!goesOn) await kept.chain.stop();
  return goesOn ? kept : undefined;
}

/** Its clock at now, its blocks as asked for. @returns false when its clock is ahead. */
async function setGoing(url: string, { blockTimeMs = 0, genesisTimeS }: ChainOptions): Promise<boolean> {
  const { timestamp } = await rpc<{ timestamp: string }>(url, "eth_getBlockByNumber", ["pending", false]);
  // A second behind, rather than ahead, of our clock.
  const behindS = (genesisTimeS ?? Math.floor(Date.now() / 1_000)) - Number(timestamp) - 1;
  if (behindS < -AHEAD_MOST_S) return false;
  if (behindS > 0) await rpc(url, "evm_increaseTime", [behindS]);
  await rpc(url, "evm_mine");
  await rpc(url, "evm_setIntervalMining", [blockTimeMs]);
  return true;
}
