// A relayer configuration for tests: the local mnemonic's later accounts as keys, private addresses allowed.
import { bytesToHex, type Address, type Hex } from "viem";
import { mnemonicToAccount, privateKeyToAddress } from "viem/accounts";
import { LOCAL_MNEMONIC } from "../../scripts/local/chain.ts";
import { LOCAL_BAZAAR_REGISTRY, LOCAL_MANDATE_REGISTRY } from "../../sdk/src/constants.ts";
import { readConfig, type Config } from "../../relayer/src/config.ts";

/** To derive one takes milliseconds, and every relayer of every test has several. */
const derived = new Map<number, Hex>();

export function keyOf(addressIndex: number): Hex {
  const known = derived.get(addressIndex) ?? derive(addressIndex);
  derived.set(addressIndex, known);
  return known;
}

function derive(addressIndex: number): Hex {
  const { privateKey } = mnemonicToAccount(LOCAL_MNEMONIC, { addressIndex }).getHdKey();
  if (privateKey === null || privateKey === undefined) throw new Error("no key");
  return bytesToHex(privateKey);
}

export function addressOf(addressIndex: number): Address {
  return privateKeyToAddress(keyOf(addressIndex));
}

/** Accounts of the local mnemonic by role. */
export const ROLE = { submitter: 15, authorizer: 16, retiredAuthorizer: 17, receiver: 18 } as const;

export type TestService = { name: string; origin: string; receiver?: Address; priceAtomic?: string; [key: string]: unknown };

/** Short times, so that tests do not wait; everything else as shipped. */
export function testConfig(databaseUrl: string, rpcUrl: string, services: TestService[] = [], env: Record<string, string> = {}): Config {
  return readConfig(testEnvironment(databaseUrl, rpcUrl, services, env));
}

/** The same for a relayer that runs as a process of its own. */
export function testEnvironment(databaseUrl: string, rpcUrl: string, services: TestService[] = [], env: Record<string, string> = {}): Record<string, string> {
  return {
    DATABASE_URL: databaseUrl,
    RPC_URL: rpcUrl,
    CHAIN_ID: "84532",
    RELAYER_SUBMITTER_KEYS: keyOf(ROLE.submitter),
    RELAYER_AUTHORIZER_KEYS: [keyOf(ROLE.authorizer), keyOf(ROLE.retiredAuthorizer)].join(","),
    RELAYER_MANDATE_REGISTRY: LOCAL_MANDATE_REGISTRY,
    RELAYER_BAZAAR_REGISTRY: LOCAL_BAZAAR_REGISTRY,
    RELAYER_ANSWER_KEYS: `0x${"5a".repeat(32)}`,
    RELAYER_CHAIN_POLL_MS: "50",
    RELAYER_ETH_PRICE_ATOMIC: "0", // the local node's gas price says nothing of Base's
    RELAYER_OUTBOUND_ALLOW_PRIVATE: "true",
    RELAYER_LOG_LEVEL: "silent",
    RELAYER_SERVICES: JSON.stringify(services.map((service) => ({ receiver: addressOf(ROLE.receiver), priceAtomic: "1000", ...service }))),
    ...env,
  };
}
