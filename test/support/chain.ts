// A local chain for tests: started with the contracts in place, driven through viem's test client.
import { createTestClient, http, publicActions, walletActions, type Address, type HDAccount, type PublicActions, type TestClient, type WalletActions } from "viem";
import { mnemonicToAccount } from "viem/accounts";
import { baseSepolia } from "viem/chains";
import { LOCAL_MNEMONIC, rpc, type ChainOptions, type LocalChain } from "../../scripts/local/chain.ts";
import { mintUSDC } from "../../scripts/local/contracts.ts";
import { leaseChain } from "./chain-pool.ts";

/** Reads, writes and mines; its accounts sign locally, as agents do. */
export type ChainClient = TestClient & PublicActions & WalletActions;

export type TestChain = LocalChain & {
  client: ChainClient;
  /** Account n of the local mnemonic; it has ETH. Number 0 is the test token's admin. */
  account(index: number): HDAccount;
  mintUSDC(to: Address, amount: bigint): Promise<void>;
  /** Mines empty blocks; not viem's mine(), see scripts/local/chain.ts. */
  mineBlocks(count: number): Promise<void>;
  /** Moves the chain's clock to that unix second and mines a block there. */
  warpTo(timestampS: bigint | number): Promise<void>;
};

/** A chain of its own for the calling suite, until stop(). */
export async function startTestChain(options: ChainOptions = {}): Promise<TestChain> {
  const chain = await leaseChain(options);
  const transport = http(chain.url);
  const client = createTestClient({ mode: "hardhat", chain: baseSepolia, transport, pollingInterval: 25, cacheTime: 0 })
    .extend(publicActions)
    .extend(walletActions) as unknown as ChainClient;
  const accounts = new Map<number, HDAccount>();
  return {
    ...chain,
    client,
    account(addressIndex) {
      const known = accounts.get(addressIndex) ?? mnemonicToAccount(LOCAL_MNEMONIC, { addressIndex });
      accounts.set(addressIndex, known);
      return known;
    },
    mintUSDC: (to, amount) => mintUSDC(chain.url, to, amount),
    async mineBlocks(count) {
      for (let mined = 0; mined < count; mined++) await rpc(chain.url, "evm_mine");
    },
    async warpTo(timestampS) {
      await client.setNextBlockTimestamp({ timestamp: BigInt(timestampS) });
      await rpc(chain.url, "evm_mine");
    },
  };
}
