// The queue outlives its processes: crashes between any two steps, two processes with the same authorisation, a reorganisation, and a node
// that lies or is slow. Money moves once, and nobody who is owed a transfer is forgotten.
import { expect } from "chai";
import { setTimeout as sleep } from "node:timers/promises";
import { encodeFunctionData, erc20Abi, parseAbi, type Address, type Hex } from "viem";
import { generatePrivateKey } from "viem/accounts";
import { plainCall, transferCalldata } from "../../relayer/src/capabilities/exact/calldata.ts";
import { markSettled } from "../../relayer/src/capabilities/exact/payment-store.ts";
import { enqueue, lookUp, markMoved, markSent } from "../../relayer/src/capabilities/exact/queue-store.ts";
import { SettlementTaken, takeTellings } from "../../relayer/src/capabilities/exact/store.ts";
import { createProbe, MOST_TRANSFER_GAS } from "../../relayer/src/capabilities/exact/probe.ts";
import { settleAuthorization, sweepQueue } from "../../relayer/src/capabilities/exact/service.ts";
import type { Authorization } from "../../relayer/src/capabilities/exact/types.ts";
import { openChain } from "../../relayer/src/chain/client.ts";
import { toBytes, toHex } from "../../relayer/src/db/codec.ts";
import type { CommitPoint } from "../../relayer/src/commit-points.ts";
import { rpc } from "../../scripts/local/chain.ts";
import { mintUSDC } from "../../scripts/local/contracts.ts";
import { BASE_SEPOLIA } from "../../sdk/src/constants.ts";
import { exactRelayer, newAddress, payer, PRICE, sendAhead, signed, type ExactTestDeps } from "../support/exact-world.ts";
import { startRpcProxy } from "../support/rpc-proxy.ts";
import { mineOther, sendAs, startWorld, USDC, type World } from "../support/settlement-world.ts";

describe("exact, the queue", function () {
  this.timeout(120_000);
  let world: World;
  before(async () => void (world = await startWorld()));
  after(() => world.stop());
  afterEach(() => world.proxy.heal());

  const rowOf = async ({ nonce }: Authorization) => (await world.db.query("SELECT state, attempts FROM exact_queue WHERE nonce = $1", [Buffer.from(nonce.slice(2), "hex")])).rows[0] as { state: string } | undefined;
  const balanceOf = (deps: ExactTestDeps, owner: Address) => deps.chain.client.readContract({ address: USDC, abi: erc20Abi, functionName: "balanceOf", args: [owner] });
  const newBatch = async (seller: Address, count = 4) => Promise.all(Array.from({ length: count }, async () => signed(await payer(world), seller)));
  const settleAll = (deps: ExactTestDeps, all: readonly Authorization[]) => Promise.all(all.map((authorization) => settleAuthorization(deps, authorization)));
  /** Sweeps as a running process does, until it is so. */
  async function sweepUntil(deps: ExactTestDeps, done: () => Promise<boolean>): Promise<void> {
    for (const deadline = Date.now() + 30_000; !(await done()); await sleep(50)) {
      expect(Date.now(), "nothing came of it").to.be.lessThan(deadline);
      // Nobody waits for the leases of a process that is dead.
      await world.db.query("UPDATE exact_queue SET taken_until = now() WHERE state = 'queued'");
      await world.db.query("UPDATE chain_tx SET resolved_at = resolved_at - interval '1 minute' WHERE resolved_at > now() - interval '30 seconds'");
      await deps.submitter.sweep();
      await sweepQueue(deps);
    }
  }

  for (const point of ["exact.queued", "tx.committed.exact", "tx.broadcast", "tx.resolved"] as CommitPoint[]) {
    it(`a process that dies at ${point} leaves it to the next one, and the money moves once`, async () => {
      const seller = newAddress();
      const submitterKey = generatePrivateKey();
      const dying = await exactRelayer(world, { submitterKey, dieAt: point });
      const all = await newBatch(seller);
      await Promise.allSettled(all.map((authorization) => settleAuthorization(dying, authorization, { waitMs: 1_000 })));
      const next = await exactRelayer(world, { submitterKey });
      await sweepUntil(next, async () => (await Promise.all(all.map(rowOf))).every((row) => row?.state === "moved"));
      const settled = await settleAll(next, all);
      expect(settled.every(({ status }) => status === "settled"), JSON.stringify(settled)).to.equal(true);
      expect(await balanceOf(next, seller)).to.equal(4n * PRICE);
    });
  }

  it("two processes with the same authorisations move each once, and both hear so", async () => {
    const seller = newAddress();
    const [one, other] = await Promise.all([exactRelayer(world, { submitterKey: generatePrivateKey() }), exactRelayer(world, { submitterKey: generatePrivateKey() })]);
    const all = await newBatch(seller, 12);
    const answers = (await Promise.all([settleAll(one, all), settleAll(other, all.toReversed())])).flat();
    expect(answers.every(({ status }) => status === "settled"), JSON.stringify(answers)).to.equal(true);
    expect(await balanceOf(one, seller)).to.equal(12n * PRICE);
    const { rows } = await world.db.query("SELECT count(*) AS live FROM exact_settlement WHERE receiver = $1", [Buffer.from(seller.slice(2), "hex")]);
    expect(rows[0].live).to.equal(12n);
  });

  async function droppedTx(): Promise<bigint> {
    const signer = toBytes(newAddress());
    await world.db.query("INSERT INTO chain_signer (address, next_nonce) VALUES ($1, 1)", [signer]);
    return (await world.db.query("INSERT INTO chain_tx (signer, nonce, purpose, hash, raw, state) VALUES ($1, 0, 'exact', $2, '', 'dropped') RETURNING tx_id", [signer, toBytes(generatePrivateKey())])).rows[0].tx_id;
  }

  it("is asked by keys, however much came since a connection made its plans", async () => {
    const txId = await droppedTx();
    const client = await world.db.connect();
    try {
      const keys = [{ from: newAddress(), nonce: generatePrivateKey() }, { from: newAddress(), nonce: generatePrivateKey() }];
      const ask = async () => {
        expect((await lookUp(client, USDC, keys)).map(({ queued, settlement }) => [queued, settlement])).to.deep.equal([[false, undefined], [false, undefined]]);
        expect(await markSent(client, USDC, keys as Authorization[], txId).catch((error: unknown) => error)).to.be.instanceOf(SettlementTaken); // none is in the queue
        await markMoved(client, USDC, keys, txId, generatePrivateKey());
        expect(await takeTellings(client, keys.map(({ from, nonce }) => ({ key: { token: USDC, payer: from, nonce }, toldTo: "plan" })))).to.deep.equal([true, true]);
      };
      for (let time = 0; time < 8; time++) await ask(); // after five PostgreSQL keeps a plan
      await client.query("BEGIN");
      await client.query(
        `INSERT INTO exact_queue (token, payer, nonce, receiver, amount, valid_after, valid_before, signature, taken_until, state, tx_id)
         SELECT $1::bytea, substr(sha256(n::text::bytea), 1, 20), sha256(n::text::bytea), $1::bytea, 1, 0, 1, '\\x00', now(), CASE n % 2 WHEN 0 THEN 'queued' ELSE 'sent' END, CASE n % 2 WHEN 1 THEN $2::bigint END FROM generate_series(1, 3000) n`,
        [toBytes(USDC), txId],
      );
      await client.query("INSERT INTO exact_told (token, payer, nonce, told_to) SELECT token, payer, nonce, 'other' FROM exact_queue");
      const read = async () => {
        const { rows } = await client.query("SELECT sum(seq_tup_read + coalesce(idx_tup_fetch, 0))::int AS rows FROM pg_stat_xact_user_tables WHERE relname = ANY ($1)", [["exact_queue", "exact_settlement", "exact_told", "chain_tx", "payment"]]);
        return rows[0].rows as number;
      };
      const before = await read();
      await ask();
      expect((await read()) - before).to.be.at.most(2 * keys.length); // two of exact_told, and once more for what is inserted
    } finally {
      await client.query("ROLLBACK").finally(() => client.release());
    }
  });

  it("two processes that carry the same rows, given in opposite orders, do not wait for each other", async () => {
    const all = (await newBatch(newAddress(), 2)).sort((one, other) => (one.from.toLowerCase() < other.from.toLowerCase() ? -1 : 1));
    const txId = await droppedTx();
    await enqueue(world.db, USDC, all.map((authorization) => ({ authorization, paymentId: undefined, attempts: 0 })), 60_000);
    const [holder, one, other] = [await world.db.connect(), await world.db.connect(), await world.db.connect()];
    try {
      for (const client of [holder, one, other]) await client.query("BEGIN");
      await holder.query("SELECT 1 FROM exact_queue WHERE nonce = $1 FOR UPDATE", [toBytes(all[0]!.nonce)]);
      const ended = [() => markSent(one, USDC, all, txId), () => markSent(other, USDC, all.toReversed(), txId)].map((mark, index) => mark().finally(() => [one, other][index]!.query("ROLLBACK")));
      const waiting = async () => (await world.db.query("SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'")).rowCount;
      for (const deadline = Date.now() + 10_000; (await waiting()) !== 2; await sleep(10)) expect(Date.now(), "both wait").to.be.lessThan(deadline);
      await holder.query("ROLLBACK");
      await Promise.all(ended);
    } finally {
      for (const client of [holder, one, other]) client.release();
      await world.db.query("DELETE FROM exact_queue WHERE nonce = ANY ($1)", [all.map(({ nonce }) => toBytes(nonce))]);
    }
  });

  it("two authorisations with one nonce: one moves, the other is told that it is used", async () => {
    const account = await payer(world);
    const nonce = generatePrivateKey();
    const [here, there] = [newAddress(), newAddress()];
    const deps = await exactRelayer(world, { submitterKey: generatePrivateKey() });
    const answers = await settleAll(deps, [await signed(account, here, { nonce }), await signed(account, there, { nonce })]);
    expect(answers.map(({ status }) => status).sort()).to.deep.equal(["failed", "settled"]);
    expect((await balanceOf(deps, here)) + (await balanceOf(deps, there))).to.equal(PRICE);
  });

  it("a reorganisation opens it again: what still can move moves in the new chain, what cannot is not called settled", async () => {
    const seller = newAddress();
    const deps = await exactRelayer(world, { submitterKey: generatePrivateKey() });
    const [leaver, stayer] = [await payer(world), await payer(world)];
    const all = [await signed(leaver, seller), await signed(stayer, seller)] as const;
    const snapshot = await rpc<Hex>(world.nodeUrl, "evm_snapshot");
    const before = await settleAll(deps, all);
    expect(before.map(({ status }) => status)).to.deep.equal(["settled", "settled"]);
    await rpc(world.nodeUrl, "evm_revert", [snapshot]);
    await mineOther(world);
    await sendAs(world, leaver.address, USDC, parseAbi(["function transfer(address to, uint256 value)"]), "transfer", [newAddress(), 100n * PRICE]);
    await sweepUntil(deps, async () => (await rowOf(all[0])) === undefined && (await rowOf(all[1]))?.state === "moved" && (await balanceOf(deps, seller)) === PRICE);
    await mintUSDC(world.nodeUrl, leaver.address, PRICE);
    const after = await settleAll(deps, all);
    expect(after.map(({ status }) => status)).to.deep.equal(["settled", "settled"]);
    expect(await balanceOf(deps, seller)).to.equal(2n * PRICE);
  });

  it("a stranger's transfer that a reorganisation took back is sent by us, and its payment names ours", async () => {
    const seller = newAddress();
    const deps = await exactRelayer(world, { submitterKey: generatePrivateKey() });
    const authorization = await signed(await payer(world), seller);
    const snapshot = await rpc<Hex>(world.nodeUrl, "evm_snapshot");
    const theirs = await sendAhead(world, newAddress(), USDC, transferCalldata(authorization));
    const { rows: [paid] } = await world.db.query<{ payment_id: string }>(
      `INSERT INTO payment (payment_id, scheme, payer, receiver, token, authorization_nonce, valid_after, valid_before, signature, service, resource, request_hash, price_atomic, reserved_until)
       VALUES ('pay_stranger', 'exact', $1, $2, $3, $4, 0, $5, $6, 'echo', 'http://relayer.test/s/echo', $4, $7, now()) RETURNING payment_id`,
      [...[authorization.from, seller, USDC, authorization.nonce].map(toBytes), authorization.validBefore, toBytes(authorization.signature), PRICE],
    );
    const paymentId = paid!.payment_id;
    expect(await settleAuthorization(deps, authorization, { paymentId })).to.deep.equal({ status: "settled", txHash: theirs });
    await world.db.query("UPDATE payment SET state = 'settling', output_hash = request_hash WHERE payment_id = $1", [paymentId]);
    expect(await markSettled(world.db, paymentId, theirs)).to.equal(true);
    const settledTx = async () => toHex((await world.db.query<{ settled_tx: Buffer }>("SELECT settled_tx FROM payment WHERE payment_id = $1", [paymentId])).rows[0]!.settled_tx);
    const look = () => world.db.query("UPDATE exact_stranger SET looked_at = now() - interval '1 minute'");

    // It stands: nothing is sent.
    await look();
    await sweepQueue(deps);
    expect([await rowOf(authorization), await settledTx()]).to.deep.equal([undefined, theirs]);
    await rpc(world.nodeUrl, "evm_revert", [snapshot]);
    await mineOther(world);
    expect(await balanceOf(deps, seller)).to.equal(0n);
    await sweepUntil(deps, async () => {
      await look();
      return (await rowOf(authorization))?.state === "moved" && (await settledTx()) !== theirs;
    });
    expect(await balanceOf(deps, seller)).to.equal(PRICE);
    const ours = await deps.chain.client.getTransactionReceipt({ hash: await settledTx() });
    expect(ours.status).to.equal("success");
  });

  it("a stranger's transfer that is gone when its authorisation is over is given up, once", async () => {
    const deps = await exactRelayer(world, { submitterKey: generatePrivateKey() });
    const authorization = await signed(await payer(world), newAddress());
    const snapshot = await rpc<Hex>(world.nodeUrl, "evm_snapshot");
    await sendAhead(world, newAddress(), USDC, transferCalldata(authorization));
    expect((await settleAuthorization(deps, authorization)).status).to.equal("settled");
    await rpc(world.nodeUrl, "evm_revert", [snapshot]);
    await mineOther(world);
    const left = async () => (await world.db.query("UPDATE exact_stranger SET looked_at = now() - interval '1 minute' WHERE nonce = $1", [toBytes(authorization.nonce)])).rowCount;
    expect(await left()).to.equal(1);
    await sweepQueue({ ...deps, now: () => new Date(Number(authorization.validBefore + 31n) * 1_000) });
    expect([await left(), await rowOf(authorization)]).to.deep.equal([0, undefined]);
  });

  it("a chain that is away fails nothing for good: the rows wait, and the same question is answered when it is back", async () => {
    const seller = newAddress();
    const deps = await exactRelayer(world, { submitterKey: generatePrivateKey() });
    const all = await newBatch(seller);
    world.proxy.fail({ method: "*", kind: "drop" });
    const away = await Promise.allSettled(all.map((authorization) => settleAuthorization(deps, authorization)));
    expect(away.map((answer) => answer.status === "rejected" && (answer.reason as { code: string }).code)).to.deep.equal(all.map(() => "chain_unavailable"));
    expect((await Promise.all(all.map(rowOf))).map((row) => row?.state)).to.deep.equal(all.map(() => "queued"));
    world.proxy.heal();
    expect((await settleAll(deps, all)).every(({ status }) => status === "settled")).to.equal(true);
    expect(await balanceOf(deps, seller)).to.equal(4n * PRICE);
  });

  it("a stranger's transaction with two nonces and one transfer pays for one of them", async () => {
    const seller = newAddress();
    const account = await payer(world);
    const deps = await exactRelayer(world, { submitterKey: generatePrivateKey() });
    const nonce = generatePrivateKey();
    const [paid, shown, elsewhere] = [await signed(account, seller), await signed(account, seller, { nonce }), await signed(account, newAddress(), { nonce })];
    const multicall = parseAbi(["struct Call3 { address target; bool allowFailure; bytes callData; }", "function aggregate3(Call3[] calls) payable returns ((bool success, bytes returnData)[])"]);
    const calls = [paid, elsewhere].map((authorization) => ({ target: USDC, allowFailure: false, callData: transferCalldata(authorization) }));
    const hash = await sendAhead(world, newAddress(), "0xcA11bde05977b3631167028862bE2a173976CA11", encodeFunctionData({ abi: multicall, args: [calls] }));
    expect(await settleAll(deps, [paid, shown])).to.deep.equal([{ status: "settled", txHash: hash }, { status: "failed", reason: "authorization_used", final: true }]);
    expect(await balanceOf(deps, seller)).to.equal(PRICE);
  });

  describe("asked of several endpoints", () => {
    const config = { token: { address: USDC, name: BASE_SEPOLIA.usdc.name, version: BASE_SEPOLIA.usdc.version } };
    async function threeEndpoints() {
      const proxies = await Promise.all([0, 1, 2].map(() => startRpcProxy(world.nodeUrl)));
      return { proxies, probe: createProbe({ chain: openChain(proxies.map(({ url }) => url), BASE_SEPOLIA.chainId), config }), stop: () => Promise.all(proxies.map((proxy) => proxy.stop())) };
    }
    /** A node that says every transfer passes and everybody is rich. */
    const optimist = (result: unknown) => `0x${"00".repeat(16)}${"ff".repeat(16)}${"00".repeat(31)}02`.padEnd(String(result).length, "0");

    it("one that lies or is down changes nothing; one that lies and one that is down leave no majority, and that is our fault, not the payer's", async () => {
      const { proxies, probe, stop } = await threeEndpoints();
      const poor = plainCall(await signed(await payer(world, PRICE - 1n), newAddress()))!;
      proxies[0]!.fail({ method: "eth_call", kind: "lie", lie: optimist });
      expect(await probe.one(poor)).to.include({ passes: false, balance: PRICE - 1n });
      proxies[0]!.heal();
      proxies[1]!.fail({ method: "eth_call", kind: "drop" });
      expect(await probe.one(poor)).to.include({ passes: false });
      proxies[0]!.fail({ method: "eth_call", kind: "lie", lie: optimist });
      const error = await probe.one(poor).then(() => undefined, (reason: { code: string }) => reason.code);
      expect(error).to.equal("chain_unavailable");
      await stop();
    });

    it("one that says a transfer takes no gas, or all there is, starves nobody and holds nobody up", async () => {
      const { proxies, probe, stop } = await threeEndpoints();
      const call = plainCall(await signed(await payer(world), newAddress()))!;
      const { gas } = await probe.one(call);
      expect(gas > 30_000n && gas < MOST_TRANSFER_GAS).to.equal(true);
      /** Two words: the balance, less than the others say but enough; then the outcome, 4 bytes behind 8 of gas. */
      const told = (result: string, byte: string) => `0x${PRICE.toString(16).padStart(64, "0")}${"00".repeat(20)}${byte.repeat(8)}${result.slice(-8)}`;
      proxies[2]!.fail({ method: "eth_call", kind: "drop" }); // the liar is needed for a majority
      for (const [said, most] of [["00", gas], ["ff", MOST_TRANSFER_GAS]] as const) {
        proxies[0]!.fail({ method: "eth_call", kind: "lie", times: 1, lie: (result) => told(String(result), said) });
        expect(await probe.one(call)).to.include({ passes: true, balance: PRICE, gas: most });
      }
      await stop();
    });
  });
});
