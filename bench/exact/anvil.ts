// Foundry's node, with the contracts where Hardhat's node has them. It spends a fraction of the time on a call, so that the servers are
// measured and not the node; both servers stand on it in the same run.
import { spawn } from "node:child_process";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { BASE_SEPOLIA } from "../../sdk/src/constants.ts";
import { LOCAL_MNEMONIC, rpc } from "../../scripts/local/chain.ts";
import { placeContracts } from "../../scripts/local/contracts.ts";
import { freePort, hasEnded, stopChild } from "../../scripts/local/process.ts";

export type BenchNode = { name: string; url: string; pid: number; stop(): Promise<void> };

const STARTS_WITHIN_MS = 15_000;

/** Undefined where the package is not installed, or not for this platform. */
export async function startAnvil(): Promise<BenchNode | undefined> {
  const binary = binaryOf();
  if (binary === undefined) return undefined;
  const port = await freePort();
  const args = ["--host", "127.0.0.1", "--port", String(port), "--chain-id", String(BASE_SEPOLIA.chainId), "--mnemonic", LOCAL_MNEMONIC, "--accounts", "20", "--optimism", "--silent", "--prune-history", "10"];
  const child = spawn(binary, args, { stdio: "ignore" });
  const url = `http://127.0.0.1:${port}`;
  const deadline = Date.now() + STARTS_WITHIN_MS;
  while ((await rpc(url, "eth_chainId").catch(() => undefined)) === undefined) {
    if (hasEnded(child) || Date.now() > deadline) throw new Error("anvil does not answer");
    await sleep(50);
  }
  await placeContracts(url);
  const version = await rpc<string>(url, "web3_clientVersion");
  return { name: version, url, pid: child.pid!, stop: () => stopChild(child, "SIGTERM", 5_000) };
}

function binaryOf(): string | undefined {
  const platform = `@foundry-rs/anvil-${process.platform}-${process.arch === "x64" ? "amd64" : process.arch}`;
  try {
    return join(dirname(createRequire(import.meta.url).resolve(`${platform}/package.json`)), "bin", "anvil");
  } catch {
    return undefined;
  }
}
