// A principal with an allowance to the registry, a guard on a journal, and agents that pay under its mandates: real chain, relayer, HTTP.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createWalletClient, http, numberToHex, parseUnits, type Address, type Hex } from "viem";
import { generatePrivateKey, privateKeyToAccount, type PrivateKeyAccount } from "viem/accounts";
import { baseSepolia } from "viem/chains";
import { rpc } from "../../scripts/local/chain.ts";
import { createAgent, type Agent, type AgentOptions, type Payment } from "../../sdk/src/agent/agent.ts";
import { openReader, type ChainReader, type ChainWriter } from "../../sdk/src/agent/chain.ts";
import { BASE_SEPOLIA, LOCAL_MANDATE_REGISTRY, SESSION_CHANNELS } from "../../sdk/src/constants.ts";
import { guardChain } from "../../sdk/src/guard/chain.ts";
import { createGuard, type Guard, type GuardParts } from "../../sdk/src/guard/guard.ts";
import { openJournal } from "../../sdk/src/guard/journal-node.ts";
import { serveGuard } from "../../sdk/src/guard/server-node.ts";
import type { Lineage } from "../../sdk/src/lineage.ts";
import { allowRegistry, createMandate, type RegistryAt, type RootWishes } from "../../sdk/src/mandates.ts";
import { mintUSDC } from "../../scripts/local/contracts.ts";

export const AT: RegistryAt = { chainId: BASE_SEPOLIA.chainId, registry: LOCAL_MANDATE_REGISTRY };
export const USDC = BASE_SEPOLIA.usdc.address;

export const newAccount = (): PrivateKeyAccount => privateKeyToAccount(generatePrivateKey());

export function writerFor(rpcUrl: string, account: PrivateKeyAccount): ChainWriter {
  return createWalletClient({ account, chain: baseSepolia, transport: http(rpcUrl), pollingInterval: 50 } as never) as unknown as ChainWriter;
}

export type Principal = { account: PrivateKeyAccount; writer: ChainWriter; reader: ChainReader };

/** Has ether and USDC, and lets the registry move the latter. */
export async function newPrincipal(rpcUrl: string, usdc = "100"): Promise<Principal> {
  const account = newAccount();
  await rpc(rpcUrl, "hardhat_setBalance", [account.address, numberToHex(10n ** 20n)]);
  await mintUSDC(rpcUrl, account.address, parseUnits(usdc, 6));
  const principal = { account, writer: writerFor(rpcUrl, account), reader: openReader(rpcUrl) };
  await allowRegistry(principal.writer, principal.reader, AT, USDC);
  return principal;
}

export const grant = (principal: Principal, delegate: Address, wishes: Partial<RootWishes> = {}): Promise<Lineage> =>
  createMandate(principal.account, AT, { delegate, token: USDC, limit: "1", validFor: "1d", validAfter: Math.floor(Date.now() / 1_000) - 60, ...wishes });

export type TestGuard = { guard: Guard; url: string; path: string; close(): Promise<void>; /** Ends it and starts another on the same journal. */ restart(): Promise<TestGuard> };

/** As `tallystick guard` runs it, in this process. */
export async function startTestGuard(rpcUrl: string | undefined, parts: Partial<GuardParts> = {}, at?: { path: string; master: Hex }): Promise<TestGuard> {
  const folder = at === undefined ? await mkdtemp(join(tmpdir(), "tallystick-guard-")) : undefined;
  const path = at?.path ?? join(folder!, "guard.journal");
  const master = at?.master ?? generatePrivateKey();
  const store = await openJournal(path);
  const chain = rpcUrl === undefined ? {} : { chain: guardChain(openReader(rpcUrl), AT.chainId, AT.registry, { freshMs: 100 }) };
  const guard = createGuard({ store, master, chainId: AT.chainId, registry: AT.registry, channels: SESSION_CHANNELS, ...chain, ...parts });
  const server = await serveGuard(guard);
  const end = async () => {
    await server.close();
    await store.close();
  };
  return {
    guard, url: server.url, path,
    async close() {
      await end();
      if (folder !== undefined) await rm(folder, { recursive: true, force: true });
    },
    async restart() {
      await end();
      return startTestGuard(rpcUrl, parts, { path, master });
    },
  };
}

/** An agent that holds its own key alone. */
export function agentUnder(rpcUrl: string, account: PrivateKeyAccount, lineage: Lineage, guardUrl: string, options: Partial<AgentOptions> = {}): { agent: Agent; payments: Payment[] } {
  const payments: Payment[] = [];
  const agent = createAgent({
    account, rpcUrl, chainId: AT.chainId, mandate: { lineage, guard: guardUrl, registry: AT.registry }, onPayment: (payment) => void payments.push(payment), ...options,
  });
  return { agent, payments };
}
