// Authorisations and relayers for the tests of the exact queue: on settlement-world's node and database, without HTTP.
import { numberToHex, type Address, type Hex, type PrivateKeyAccount } from "viem";
import { generatePrivateKey, privateKeyToAccount } from "viem/accounts";
import { mintUSDC } from "../../scripts/local/contracts.ts";
import { rpc } from "../../scripts/local/chain.ts";
import { createExact, type Exact } from "../../relayer/src/capabilities/exact/exact.ts";
import type { Authorization } from "../../relayer/src/capabilities/exact/types.ts";
import { createSubmitter } from "../../relayer/src/chain/submitter.ts";
import type { CommitPoint } from "../../relayer/src/commit-points.ts";
import { BASE_SEPOLIA } from "../../sdk/src/constants.ts";
import { transferWithAuthorizationTypes } from "../../sdk/src/typed-data.ts";
import { USDC, type RelayerOptions, type TestDeps, type World } from "./settlement-world.ts";

export const PRICE = 1000n;
export const DOMAIN = { name: BASE_SEPOLIA.usdc.name, version: BASE_SEPOLIA.usdc.version, chainId: BASE_SEPOLIA.chainId, verifyingContract: USDC };

export type ExactTestDeps = TestDeps & { exact: Exact };

/** A relayer with its own queue. `dieAt`: where its process ends, once: what it was about to do never happens. */
export async function exactRelayer(world: World, options: RelayerOptions & { submitterKey: Hex; dieAt?: CommitPoint }): Promise<ExactTestDeps> {
  const base = await world.relayer(options);
  let dead = false;
  const reached = (point: CommitPoint) => {
    if (point !== options.dieAt || dead) return;
    dead = true;
    throw new Error(`the process dies at ${point}`);
  };
  const deps = { ...base, reached, submitter: createSubmitter({ ...base, reached, signers: [privateKeyToAccount(options.submitterKey)] }) };
  return { ...deps, exact: createExact(deps) };
}

export async function payer(world: World, funds = 100n * PRICE): Promise<PrivateKeyAccount> {
  const account = privateKeyToAccount(generatePrivateKey());
  if (funds > 0n) await mintUSDC(world.nodeUrl, account.address, funds);
  return account;
}

export const newAddress = (): Address => privateKeyToAccount(generatePrivateKey()).address;

export async function signed(account: PrivateKeyAccount, to: Address, change: Partial<Authorization> = {}): Promise<Authorization> {
  const message = { from: account.address, to, value: PRICE, validAfter: 0n, validBefore: BigInt(Math.floor(Date.now() / 1000)) + 600n, nonce: generatePrivateKey(), ...change };
  return { ...message, signature: await account.signTypedData({ domain: DOMAIN, types: transferWithAuthorizationTypes, primaryType: "TransferWithAuthorization", message }) };
}

/** Blocks only when told: what is sent waits in the pool. */
export async function holdBlocks(world: World): Promise<void> {
  await rpc(world.nodeUrl, "evm_setAutomine", [false]);
}

/** Mines what waits, then on every transaction again. */
export async function letBlocks(world: World): Promise<void> {
  await rpc(world.nodeUrl, "evm_mine");
  await rpc(world.nodeUrl, "evm_setAutomine", [true]);
}

/** Sends as `from`, ahead of everything that waits, without mining. */
export async function sendAhead(world: World, from: Address, to: Address, data: Hex): Promise<Hex> {
  await rpc(world.nodeUrl, "hardhat_impersonateAccount", [from]);
  await rpc(world.nodeUrl, "hardhat_setBalance", [from, numberToHex(10n ** 19n)]);
  return rpc<Hex>(world.nodeUrl, "eth_sendTransaction", [{ from, to, data, gas: numberToHex(300_000), maxFeePerGas: numberToHex(10n ** 12n), maxPriorityFeePerGas: numberToHex(10n ** 11n) }]);
}
