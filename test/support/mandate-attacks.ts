// Mandates on a real node: a principal with test USDC, its agent and sub-agent, payees, and what a thief tries. Every key is
// fresh, so that the chain may serve many tests.
import { encodeFunctionData, maxUint256, zeroHash, type Address, type ContractFunctionArgs, type Hex, type PrivateKeyAccount, type TransactionReceipt } from "viem";
import { generatePrivateKey, privateKeyToAccount } from "viem/accounts";
import { rpc } from "../../scripts/local/chain.ts";
import { mandateRegistryAbi } from "../../sdk/src/abi/mandate-registry.ts";
import { testUSDCAbi } from "../../sdk/src/abi/test-usdc.ts";
import { BASE_SEPOLIA, LOCAL_MANDATE_REGISTRY } from "../../sdk/src/constants.ts";
import { mandateSpendDigest, spendOrder, type SignedSpendOrder, type SpendOrder } from "../../sdk/src/mandate-messages.ts";
import { mandateIdOf, mandateRegistryDomain, type Mandate, type MandateRegistryDomain } from "../../sdk/src/mandate.ts";
import type { TestChain } from "./chain.ts";

export const USDC = BASE_SEPOLIA.usdc.address;
export const DOMAIN = mandateRegistryDomain(BASE_SEPOLIA.chainId, LOCAL_MANDATE_REGISTRY);
const FUNDS_ATOMIC = 10_000_000n;
/** Enough for any call here; given, so that a call that reverts is mined too. */
const GAS = 2_000_000n;

type Write = "approve" | "approveWithSignature" | "spend" | "spendWithSignature" | "spendBatch" | "revoke" | "revokeWithSignature" | "bumpEpoch" | "collect";
export type Args<Name extends Write> = ContractFunctionArgs<typeof mandateRegistryAbi, "nonpayable", Name>;

/** Who takes part in one attack. */
export type Cast = Record<"principal" | "agent" | "subAgent" | "payee" | "thief", PrivateKeyAccount>;

/** Fresh people with ETH; the principal has ten dollars and lets the registry take them all: only mandates bound it. */
export async function newCast(chain: TestChain): Promise<Cast> {
  const [principal, agent, subAgent, payee, thief] = Array.from({ length: 5 }, () => privateKeyToAccount(generatePrivateKey()));
  const cast: Cast = { principal: principal!, agent: agent!, subAgent: subAgent!, payee: payee!, thief: thief! };
  for (const { address } of Object.values(cast)) await chain.client.setBalance({ address, value: 10n ** 20n });
  await chain.mintUSDC(cast.principal.address, FUNDS_ATOMIC);
  const data = encodeFunctionData({ abi: testUSDCAbi, functionName: "approve", args: [LOCAL_MANDATE_REGISTRY, maxUint256] });
  await sendTo(chain, cast.principal, USDC, data);
  return cast;
}

/** A root mandate of the principal's for the agent: a dollar in all; terms may be overridden. */
export function rootOf({ principal, agent }: Cast, terms: Partial<Mandate> = {}): Mandate {
  return {
    principal: principal.address, delegate: agent.address, token: USDC, limit: 1_000_000n, periodLimit: 0n, paymentLimit: 1_000_000n,
    period: 0, validAfter: 0, validUntil: 2 ** 40 - 1, epoch: 0,
    payeesRoot: zeroHash, capability: zeroHash, parent: zeroHash, terms: zeroHash, salt: generatePrivateKey(), ...terms,
  };
}

export const idOf = (mandate: Mandate, domain: MandateRegistryDomain = DOMAIN): Hex => mandateIdOf(domain, mandate);

/** The grantor's signature of a mandate. */
export const granted = (grantor: PrivateKeyAccount, mandate: Mandate, domain = DOMAIN): Promise<Hex> => grantor.sign({ hash: idOf(mandate, domain) });

/** The payment, signed by `delegate` for whoever relays it. */
export async function signedBy(delegate: PrivateKeyAccount, order: Pick<SpendOrder, "lineage" | "payee" | "amount"> & Partial<SpendOrder>, nonce = 0n, domain = DOMAIN): Promise<SignedSpendOrder> {
  const row = { order: spendOrder(order), nonce, deadline: maxUint256 };
  return { ...row, signature: await delegate.sign({ hash: mandateSpendDigest(domain, row) }) };
}

/** Sends a call of the registry and waits for it; it may be mined as reverted. */
export async function call<Name extends Write>(chain: TestChain, from: PrivateKeyAccount, name: Name, args: Args<Name>, to: Address = LOCAL_MANDATE_REGISTRY): Promise<TransactionReceipt> {
  return sendTo(chain, from, to, dataOf(name, args));
}

export function dataOf<Name extends Write>(functionName: Name, args: Args<Name>): Hex {
  return encodeFunctionData({ abi: mandateRegistryAbi, functionName, args } as never);
}

export async function sendTo(chain: TestChain, from: PrivateKeyAccount, to: Address, data: Hex): Promise<TransactionReceipt> {
  const hash = await submit(chain, from, to, data);
  return chain.client.waitForTransactionReceipt({ hash });
}

/** Sends without waiting; the higher the tip, the earlier in its block. */
export async function submit(chain: TestChain, from: PrivateKeyAccount, to: Address, data: Hex, tipGwei = 1n): Promise<Hex> {
  const fees = { maxFeePerGas: 1_000n * 10n ** 9n, maxPriorityFeePerGas: tipGwei * 10n ** 9n };
  return chain.client.sendTransaction({ account: from, chain: null, to, data, gas: GAS, ...fees });
}

/** What is sent meanwhile is mined together, in one block, when `act` is done. */
export async function inOneBlock(chain: TestChain, act: () => Promise<Hex[]>): Promise<TransactionReceipt[]> {
  await rpc(chain.url, "evm_setAutomine", [false]);
  let hashes: Hex[];
  try {
    hashes = await act();
    await rpc(chain.url, "evm_mine");
  } finally {
    await rpc(chain.url, "evm_setAutomine", [true]);
  }
  const receipts = await Promise.all(hashes.map((hash) => chain.client.getTransactionReceipt({ hash })));
  if (new Set(receipts.map(({ blockNumber }) => blockNumber)).size !== 1) throw new Error("mined in several blocks");
  return receipts;
}

/** The name of the error with which the registry refuses that call now. */
export async function refusalOf<Name extends Write>(chain: TestChain, from: PrivateKeyAccount, name: Name, args: Args<Name>, to: Address = LOCAL_MANDATE_REGISTRY): Promise<string> {
  try {
    await chain.client.simulateContract({ address: to, abi: mandateRegistryAbi, functionName: name, args, account: from, gas: GAS } as never);
  } catch (error) {
    for (let cause = error; cause instanceof Error; cause = cause.cause as Error) {
      const { data } = cause as { data?: { errorName?: string } };
      if (data?.errorName !== undefined) return data.errorName;
    }
    throw error;
  }
  return "none";
}

export type Moved = { fromPrincipal: bigint; toPayee: bigint; toThief: bigint; charged: bigint; inRegistry: bigint };

/** Where the principal's tokens are, and what the registry says was spent under `mandate`; all atomic units. */
export async function moved(chain: TestChain, cast: Cast, mandate: Mandate): Promise<Moved> {
  const balance = (owner: Address) => chain.client.readContract({ address: USDC, abi: testUSDCAbi, functionName: "balanceOf", args: [owner] });
  const [left, toPayee, toThief, inRegistry] = await Promise.all([cast.principal.address, cast.payee.address, cast.thief.address, LOCAL_MANDATE_REGISTRY].map(balance));
  const state = await chain.client.readContract({ address: LOCAL_MANDATE_REGISTRY, abi: mandateRegistryAbi, functionName: "mandates", args: [idOf(mandate)] });
  return { fromPrincipal: FUNDS_ATOMIC - left!, toPayee: toPayee!, toThief: toThief!, charged: state.spent, inRegistry: inRegistry! };
}

/** Zero overspend: `paid` atomic units left the principal, all to the payee, all charged to the mandate; the thief has nothing. */
export const exactly = (paid: bigint): Moved => ({ fromPrincipal: paid, toPayee: paid, toThief: 0n, charged: paid, inRegistry: 0n });
