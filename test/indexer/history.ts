// One history with every event of SessionChannels in it, over four days, two tokens, three payers and three receivers.
import { encodeDeployData, encodeFunctionData, getContractAddress, keccak256, pad, parseAbi, toHex, zeroAddress, type Address, type Hex } from "viem";
import { sessionChannelsAbi } from "../../sdk/src/abi/session-channels.ts";
import { testUSDCAbi } from "../../sdk/src/abi/test-usdc.ts";
import { BASE_SEPOLIA, SESSION_CHANNELS } from "../../sdk/src/constants.ts";
import type { ChannelConfig } from "../../sdk/src/typed-data.ts";
import { artifact } from "../../scripts/artifacts.ts";
import type { TestChain } from "../support/chain.ts";
import type { Sessions } from "../support/session.ts";

/** 2025-12-31, an hour before the year ends (UTC). */
export const GENESIS_S = 1_767_222_000;
const DAY_S = 86_400;

export const USDC = BASE_SEPOLIA.usdc.address;
export const receiptsRoot: Hex = keccak256(toHex("receipts"));

/** Who plays: numbers of the local mnemonic. */
export function cast(chain: TestChain) {
  const [admin, ada, bob, cyd, bobKey, rex, sue, tim, authorizer, relayer] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9].map((n) => chain.account(n));
  return { admin: admin!, ada: ada!, bob: bob!, cyd: cyd!, bobKey: bobKey!, rex: rex!, sue: sue!, tim: tim!, authorizer: authorizer!, relayer: relayer! };
}

export function configs(chain: TestChain, secondToken: Address) {
  const { ada, bob, cyd, bobKey, rex, sue, tim, authorizer } = cast(chain);
  const terms = { receiverAuthorizer: authorizer.address, token: USDC, withdrawDelay: 900, salt: pad("0x00") };
  return {
    adaRex: { ...terms, payer: ada.address, payerAuthorizer: ada.address, receiver: rex.address },
    bobRex: { ...terms, payer: bob.address, payerAuthorizer: bobKey.address, receiver: rex.address, salt: pad("0x07") },
    cydSue: { ...terms, payer: cyd.address, payerAuthorizer: cyd.address, receiver: sue.address },
    /** Vouchers of contract wallets are not claimed packed. */
    cydRex: { ...terms, payer: cyd.address, payerAuthorizer: zeroAddress, receiver: rex.address },
    bobSue: { ...terms, payer: bob.address, payerAuthorizer: bobKey.address, receiver: sue.address },
    /** In the second token; the payer is a receiver elsewhere. */
    rexTim: { ...terms, payer: rex.address, payerAuthorizer: rex.address, receiver: tim.address, token: secondToken },
    /** Never funded. */
    unknown: { ...terms, payer: bob.address, payerAuthorizer: bobKey.address, receiver: rex.address, salt: pad("0xdead") },
  } satisfies Record<string, ChannelConfig>;
}

/** Mints, and deploys the second token. */
export async function prepare(chain: TestChain, sessions: Sessions): Promise<Address> {
  const { admin, ada, bob, cyd, rex } = cast(chain);
  for (const { address } of [ada, bob, cyd]) await chain.mintUSDC(address, 10_000_000n);
  const { bytecode } = artifact("TestUSDC");
  const nonce = await chain.client.getTransactionCount({ address: admin.address });
  const deploy = encodeDeployData({ abi: testUSDCAbi, bytecode, args: [BASE_SEPOLIA.usdc.name, BASE_SEPOLIA.usdc.version] });
  const hash = await chain.client.sendTransaction({ account: admin, chain: chain.client.chain!, data: deploy });
  await chain.client.waitForTransactionReceipt({ hash });
  const token = getContractAddress({ from: admin.address, nonce: BigInt(nonce) });
  await sessions.sendTo(admin, token, encodeFunctionData({ abi: testUSDCAbi, functionName: "initialize", args: [admin.address] }));
  await sessions.sendTo(admin, token, encodeFunctionData({ abi: testUSDCAbi, functionName: "mint", args: [rex.address, 10_000n] }));
  return token;
}

/** 2025-12-31 and 2026-01-01: deposits, a top-up, plain and signed claims. */
export async function firstHalf(chain: TestChain, sessions: Sessions, token: Address): Promise<void> {
  const { ada, bob, cyd, bobKey, rex, authorizer, relayer } = cast(chain);
  const { adaRex, bobRex, cydSue, cydRex, bobSue, rexTim } = configs(chain, token);
  await sessions.deposit(adaRex, ada, 1_000_000n);
  await sessions.deposit(adaRex, ada, 500_000n, { sender: relayer, collector: SESSION_CHANNELS });
  await sessions.deposit(bobRex, bob, 2_000_000n);
  await sessions.deposit(cydSue, cyd, 300n);
  await sessions.deposit(cydRex, cyd, 1_000n);
  await sessions.deposit(rexTim, rex, 4_000n, { collector: SESSION_CHANNELS });
  const rows = [
    { config: adaRex, voucherKey: ada, totalClaimed: 100_000n },
    { config: bobRex, voucherKey: bobKey, totalClaimed: 1n, ceiling: 5n },
  ];
  await sessions.send(rex, "claim", [await sessions.claimRows(rows)]);

  await chain.warpTo(GENESIS_S + DAY_S);
  await sessions.deposit(bobSue, bob, 70n);
  const signed = [
    { config: adaRex, voucherKey: ada, totalClaimed: 150_000n },
    { config: cydSue, voucherKey: cyd, totalClaimed: 100n },
    { config: cydRex, voucherKey: cyd, totalClaimed: 10n },
  ];
  await sessions.send(relayer, "claimWithSignature", [await sessions.claimRows(signed), await sessions.claimBatchSignature(authorizer, signed)]);
}

/** 2026-01-02 and 2026-01-03: packed claims with every way to be skipped, settlements, refunds, withdrawals. */
export async function secondHalf(chain: TestChain, sessions: Sessions, token: Address): Promise<void> {
  const { admin, ada, bob, cyd, bobKey, rex, sue, authorizer, relayer } = cast(chain);
  const { adaRex, bobRex, cydSue, cydRex, bobSue, rexTim, unknown } = configs(chain, token);

  await chain.warpTo(GENESIS_S + 2 * DAY_S);
  const rexRows = [
    await sessions.packedRow({ config: adaRex, voucherKey: ada, totalClaimed: 200_000n, ceiling: 250_000n }),
    await sessions.packedRow({ config: adaRex, voucherKey: ada, totalClaimed: 200_000n }), // nothing new
    { ...(await sessions.packedRow({ config: bobRex, voucherKey: bobKey, totalClaimed: 9n })), totalClaimed: 10n }, // above its ceiling
    await sessions.packedRow({ config: bobRex, voucherKey: bobKey, totalClaimed: 1n << 64n }), // above its balance
    await sessions.packedRow({ config: bobRex, voucherKey: ada, totalClaimed: 20n }), // signed by another
    await sessions.packedRow({ config: cydRex, voucherKey: cyd, totalClaimed: 20n }), // a contract wallet's
    await sessions.packedRow({ config: unknown, voucherKey: bobKey, totalClaimed: 1n }), // never funded
    await sessions.packedRow({ config: bobRex, voucherKey: bobKey, totalClaimed: 30n }),
  ];
  const sueRows = [
    await sessions.packedRow({ config: cydSue, voucherKey: cyd, totalClaimed: 150n }),
    await sessions.packedRow({ config: bobSue, voucherKey: bobKey, totalClaimed: 70n }),
  ];
  await sessions.send(relayer, "claimPacked", [
    [await sessions.packedGroup(authorizer, adaRex, rexRows, receiptsRoot), await sessions.packedGroup(authorizer, cydSue, sueRows)],
  ]);

  const two = [
    { config: adaRex, voucherKey: ada, totalClaimed: 250_000n },
    { config: rexTim, voucherKey: rex, totalClaimed: 4_000n },
  ];
  await sessions.send(relayer, "claimAndSettle", [await sessions.claimRows(two), await sessions.claimBatchSignature(authorizer, two)]);

  const admins = parseAbi(["function blacklist(address)", "function unBlacklist(address)"]);
  await sessions.sendTo(admin, USDC, encodeFunctionData({ abi: admins, functionName: "blacklist", args: [sue.address] }));
  await sessions.send(authorizer, "claimAndSettle", [await sessions.claimRows([{ config: cydSue, voucherKey: cyd, totalClaimed: 200n }]), "0x"]);
  await sessions.sendTo(admin, USDC, encodeFunctionData({ abi: admins, functionName: "unBlacklist", args: [sue.address] }));
  await sessions.send(relayer, "settle", [sue.address, USDC]);

  await chain.warpTo(GENESIS_S + 3 * DAY_S);
  // Shrunk by a refund, then finalized.
  await sessions.send(bobKey, "initiateWithdraw", [bobRex, 500_000n]);
  await sessions.send(authorizer, "refund", [bobRex, 200_000n]);
  // Cancelled, and another left pending.
  await sessions.send(ada, "initiateWithdraw", [adaRex, 10_000n]);
  await sessions.send(ada, "cancelWithdraw", [adaRex]);
  await sessions.send(ada, "initiateWithdraw", [adaRex, 20_000n]);
  // Ended by a refund of all that was left.
  await sessions.send(cyd, "initiateWithdraw", [cydSue, 40n]);
  const refund = await sessions.refundSignature(authorizer, cydSue, 0n, 1_000n);
  await sessions.send(relayer, "refundWithSignature", [cydSue, 1_000n, 0n, refund]);
  await chain.warpTo(GENESIS_S + 3 * DAY_S + 1_000);
  await sessions.send(bob, "finalizeWithdraw", [bobRex]);

  // A channel that never paid is closed by a refund, funded again and closed by a withdrawal, in one multicall at the end.
  const short = { ...bobSue, salt: pad("0x99") } satisfies ChannelConfig;
  await sessions.deposit(short, bob, 5n);
  await sessions.send(sue, "refund", [short, 5n]);
  await sessions.deposit(short, bob, 8n);
  await sessions.send(bob, "initiateWithdraw", [short, 8n]);
  await chain.warpTo(GENESIS_S + 3 * DAY_S + 3_000);
  await sessions.send(bob, "multicall", [
    [
      encodeFunctionData({ abi: sessionChannelsAbi, functionName: "finalizeWithdraw", args: [short] }),
      encodeFunctionData({ abi: sessionChannelsAbi, functionName: "settle", args: [rex.address, USDC] }),
    ],
  ]);
}
