// Puts at their fixed addresses what stock x402 clients expect on Base Sepolia: Multicall3, USDC's double, SessionChannels
// and the ERC-3009 collector; and beside them, at addresses of our own choice, our MandateRegistry, AuditAnchor, JobEscrow, DisputeEvaluator
// and BazaarRegistry, and the ERC-8004 registries it composes with. Everything else is deployed in the ordinary way.
import { concat, createPublicClient, encodeAbiParameters, encodeFunctionData, http, zeroAddress, type Address, type Hex } from "viem";
import { mnemonicToAccount } from "viem/accounts";
import { testUSDCAbi } from "../../sdk/src/abi/test-usdc.ts";
import {
  BASE_SEPOLIA,
  ERC3009_COLLECTOR,
  LOCAL_AUDIT_ANCHOR,
  LOCAL_BAZAAR_REGISTRY,
  LOCAL_DISPUTE_EVALUATOR,
  LOCAL_IDENTITY_REGISTRY,
  LOCAL_JOB_ESCROW,
  LOCAL_MANDATE_REGISTRY,
  LOCAL_REPUTATION_REGISTRY,
  MULTICALL3,
  SESSION_CHANNELS,
} from "../../sdk/src/constants.ts";
import { parametersOf } from "../../ignition/parameters.ts";
import { artifact, type ContractName } from "../artifacts.ts";
import { LOCAL_MNEMONIC, rpc } from "./chain.ts";

/** The test token's minter, pauser and blacklister: the local chain's first account, whose key the chain holds. */
export const USDC_ADMIN: Address = mnemonicToAccount(LOCAL_MNEMONIC).address;

/** Disputes of the local world are cheap and quick: a seat locks a dollar, and no window is shorter than a second. */
export const LOCAL_SEAT_BOND_ATOMIC = 1_000_000n;
export const LOCAL_MIN_DISPUTE_WINDOW_S = 1;

/** Places the contracts; doing it again changes nothing. */
export async function placeContracts(rpcUrl: string): Promise<void> {
  const { name, version, address: usdc } = BASE_SEPOLIA.usdc;
  await place(rpcUrl, MULTICALL3, await multicall3CreationCode());
  await place(rpcUrl, usdc, creationCode("TestUSDC", name, version));
  await place(rpcUrl, SESSION_CHANNELS, creationCode("SessionChannels"));
  await place(rpcUrl, ERC3009_COLLECTOR, creationCode("ERC3009DepositCollector", SESSION_CHANNELS));
  await place(rpcUrl, LOCAL_MANDATE_REGISTRY, creationCode("MandateRegistry", SESSION_CHANNELS, SESSION_CHANNELS));
  await place(rpcUrl, LOCAL_AUDIT_ANCHOR, creationCode("AuditAnchor"));
  await place(rpcUrl, LOCAL_JOB_ESCROW, creationCode("JobEscrow", usdc, LOCAL_MANDATE_REGISTRY, 0, zeroAddress));
  await place(rpcUrl, LOCAL_DISPUTE_EVALUATOR, creationCode("DisputeEvaluator", LOCAL_JOB_ESCROW, usdc, LOCAL_SEAT_BOND_ATOMIC, LOCAL_MIN_DISPUTE_WINDOW_S));
  await place(rpcUrl, LOCAL_IDENTITY_REGISTRY, creationCode("IdentityRegistry"));
  await place(rpcUrl, LOCAL_REPUTATION_REGISTRY, creationCode("ReputationRegistry", LOCAL_IDENTITY_REGISTRY));
  await place(rpcUrl, LOCAL_BAZAAR_REGISTRY, bazaarCreationCode());

  const client = createPublicClient({ transport: http(rpcUrl) });
  const admin = await client.readContract({ address: usdc, abi: testUSDCAbi, functionName: "admin" });
  if (BigInt(admin) !== 0n) return;
  const data = encodeFunctionData({ abi: testUSDCAbi, functionName: "initialize", args: [USDC_ADMIN] });
  await sendAsAdmin(rpcUrl, usdc, data);
}

/** Gives `to` test USDC, atomic units. */
export async function mintUSDC(rpcUrl: string, to: Address, amount: bigint): Promise<void> {
  await sendAsAdmin(rpcUrl, BASE_SEPOLIA.usdc.address, encodeFunctionData({ abi: testUSDCAbi, functionName: "mint", args: [to, amount] }));
}

/**
 * Code at an address of our choice, with the immutables it would have if it had been deployed there: the creation code is
 * put at the address and called, so `address(this)` is right in its constructor, and its answer becomes the code. What a
 * constructor writes to storage would be lost; these contracts write nothing.
 */
async function place(rpcUrl: string, address: Address, creation: Hex): Promise<void> {
  await rpc(rpcUrl, "hardhat_setCode", [address, creation]);
  const runtime = await rpc<Hex>(rpcUrl, "eth_call", [{ to: address }, "latest"]);
  if (runtime === "0x") throw new Error(`creation code placed at ${address} answered nothing`);
  await rpc(rpcUrl, "hardhat_setCode", [address, runtime]);
}

/** Creation code with its constructor's arguments, which `place` relies on being read from the code's end. */
function creationCode(name: ContractName, ...args: (string | number | bigint)[]): Hex {
  const { abi, bytecode } = artifact(name);
  const inputs = abi.find((entry) => entry.type === "constructor")?.inputs ?? [];
  return concat([bytecode, encodeAbiParameters(inputs, args)]);
}

function bazaarCreationCode(): Hex {
  const { identityRegistry, reputationRegistry, curator, bondToken, facilitatorBond } = parametersOf("local").bazaar;
  return creationCode("BazaarRegistry", identityRegistry, reputationRegistry, SESSION_CHANNELS, SESSION_CHANNELS, LOCAL_JOB_ESCROW, curator, bondToken, facilitatorBond);
}

/** viem carries Multicall3's creation code but does not export it by name. */
async function multicall3CreationCode(): Promise<Hex> {
  const file = new URL("./constants/contracts.js", import.meta.resolve("viem"));
  return ((await import(file.href)) as { multicall3Bytecode: Hex }).multicall3Bytecode;
}

/** Sends from the admin, whose key the chain holds, and waits until it is mined. */
async function sendAsAdmin(rpcUrl: string, to: Address, data: Hex): Promise<void> {
  const hash = await rpc<Hex>(rpcUrl, "eth_sendTransaction", [{ from: USDC_ADMIN, to, data }]);
  const { status } = await createPublicClient({ transport: http(rpcUrl), pollingInterval: 50 }).waitForTransactionReceipt({ hash });
  if (status !== "success") throw new Error(`transaction ${hash} to ${to} reverted`);
}
