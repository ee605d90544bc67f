import { expect } from "chai";
import { readFileSync } from "node:fs";
import { concatHex, createWalletClient, encodeAbiParameters, encodeFunctionData, http, keccak256, numberToHex, zeroAddress, type Abi, type Address, type Hex } from "viem";
import { generatePrivateKey, privateKeyToAccount } from "viem/accounts";
import { rpc } from "../../scripts/local/chain.ts";
import { mintUSDC, USDC_ADMIN } from "../../scripts/local/contracts.ts";
import { sessionChannelsAbi } from "../../sdk/src/abi/session-channels.ts";
import { BASE_SEPOLIA, SESSION_CHANNELS } from "../../sdk/src/constants.ts";
import { channelIdOf, receiveWithAuthorizationTypes, type ChannelConfig } from "../../sdk/src/typed-data.ts";
import { createFollower } from "../../relayer/src/capabilities/channels/follower.ts";
import { carryDeposit, readView } from "../../relayer/src/capabilities/channels/service.ts";
import { insertChannel, updateChainView } from "../../relayer/src/capabilities/channels/store.ts";
import { GROUP, PAYOUT, rowSize, TRANSACTION } from "../../relayer/src/capabilities/settlement/costs.ts";
import { createSettlementWorker } from "../../relayer/src/capabilities/settlement/service.ts";
import { toBytes } from "../../relayer/src/db/codec.ts";
import { charge, depositRequest, DOMAIN, mineOther, newBuyer, sendToChannels, sendToToken, signVoucher, startWorld, USDC, type Buyer, type TestDeps, type World } from "../support/settlement-world.ts";

const newReceiver = () => privateKeyToAccount(generatePrivateKey()).address;
/** At this price of ether a lone claim costs some hundreds of units: the local node asks 1 to 3 gwei. */
const DEAR = { RELAYER_ETH_PRICE_ATOMIC: "5000000", RELAYER_SETTLE_MAX_GAS_SHARE_BPS: "500" };

for (const mode of ["tallystick", "canonical"] as const) {
  describe(`settlement of many, ${mode}`, function () {
    this.timeout(120_000);
    const submitterKey = generatePrivateKey();
    const env = { RELAYER_SETTLEMENT_MODE: mode, RELAYER_SETTLE_MAX_AGE_S: "3600", RELAYER_SETTLE_MIN_VALUE: "1000000" };
    let world: World;
    let deps: TestDeps;
    before(async () => {
      world = await startWorld();
      deps = await world.relayer({ submitterKey, env });
    });
    after(() => world.stop());
    afterEach(async () => {
      world.proxy.heal();
      expect(await createSettlementWorker(deps).flush(10_000)).to.equal(true);
      // The queue holds what can be claimed, and nothing that is claimed.
      const stale = await world.db.query("SELECT 1 FROM settlement_due d JOIN channel c USING (channel_id) WHERE c.charged <= c.total_claimed");
      expect(stale.rowCount).to.equal(0);
      const claimed = await world.db.query("SELECT r.channel_id::bytea AS id, sum(r.claimed_atomic) AS claimed FROM settlement_row r WHERE r.state = 'claimed' GROUP BY 1");
      const views = await readView(deps, claimed.rows.map((row) => numberToHex(BigInt(`0x${row.id.toString("hex")}`), { size: 32 })));
      for (const row of claimed.rows) {
        const channelId = numberToHex(BigInt(`0x${row.id.toString("hex")}`), { size: 32 });
        expect(row.claimed + (external.get(channelId) ?? 0n), channelId).to.equal(views.get(channelId)!.totalClaimed);
      }
    });
    /** What tests claimed without the worker. */
    const external = new Map<Hex, bigint>();

    const open = async (receiver: Address, terms = {}) => {
      const buyer = await newBuyer(world, { receiver, ...terms });
      await carryDeposit(deps, await depositRequest(buyer, 10_000n));
      return buyer;
    };
    /** Channels of one payer, opened in one transaction. */
    const openMany = async (receivers: readonly Address[], terms: Partial<ChannelConfig> = {}): Promise<Buyer[]> => {
      const payer = await newBuyer(world, terms);
      const nowS = BigInt(Math.floor(Date.now() / 1000));
      const { name, version } = BASE_SEPOLIA.usdc;
      await mintUSDC(world.nodeUrl, payer.config.payer, 10_000n * BigInt(receivers.length));
      const buyers = receivers.map((receiver, index): Buyer => {
        const config = { ...payer.config, receiver, salt: numberToHex(index + 1, { size: 32 }) };
        return { account: payer.account, config, channelId: channelIdOf(DOMAIN, config) };
      });
      const calls = await Promise.all(buyers.map(async ({ config, channelId }) => {
        const terms = [nowS - 600n, nowS + 86_400n, numberToHex(1, { size: 32 })] as const;
        const signature = await payer.account.signTypedData({
          domain: { name, version, chainId: BASE_SEPOLIA.chainId, verifyingContract: USDC }, types: receiveWithAuthorizationTypes, primaryType: "ReceiveWithAuthorization",
          message: { from: config.payer, to: SESSION_CHANNELS, value: 10_000n, validAfter: terms[0], validBefore: terms[1], nonce: keccak256(concatHex([channelId, terms[2]])) },
        });
        const data = encodeAbiParameters([{ type: "uint256" }, { type: "uint256" }, { type: "bytes32" }, { type: "bytes" }], [...terms, signature]);
        return encodeFunctionData({ abi: sessionChannelsAbi, functionName: "deposit", args: [config, 10_000n, SESSION_CHANNELS, data] });
      }));
      for (let start = 0; start < calls.length; start += 40) await sendToChannels(world, USDC_ADMIN, "multicall", [calls.slice(start, start + 40)]);
      const views = await readView(deps, buyers.map(({ channelId }) => channelId));
      for (const { channelId, config } of buyers) await insertChannel(world.db, channelId, config, views.get(channelId)!);
      return buyers;
    };
    const paid = (receiver: Hex) => deps.chain.client.readContract({ address: SESSION_CHANNELS, abi: sessionChannelsAbi, functionName: "receivers", args: [receiver, USDC] });
    const total = async ({ channelId }: Buyer) => (await readView(deps, [channelId])).get(channelId)!.totalClaimed;
    const claims = async () => (await world.db.query("SELECT tx_id, gas_used, octet_length(raw) AS bytes FROM chain_tx WHERE purpose = 'claim' ORDER BY tx_id")).rows;
    const batchesOf = async (txId: bigint) => (await world.db.query("SELECT state, reason, settled_atomic FROM settlement_batch WHERE tx_id = $1 ORDER BY batch_id", [txId])).rows;
    const reasonOf = async ({ channelId }: Buyer) => (await world.db.query("SELECT reason FROM settlement_quarantine WHERE channel_id = $1", [toBytes(channelId)])).rows[0]?.reason;
    const queued = async ({ channelId }: Buyer) => (await world.db.query("SELECT queued_at FROM settlement_due WHERE channel_id = $1", [toBytes(channelId)])).rows[0]?.queued_at as Date | undefined;
    const stranger = () => privateKeyToAccount(generatePrivateKey()).signMessage({ message: "not a voucher" });

    it("claims for several receivers and pays them in one transaction, for no more gas and bytes than it was estimated at", async () => {
      const receivers = [newReceiver(), newReceiver(), newReceiver()];
      const buyers = await openMany([...receivers, ...receivers]);
      for (const [index, buyer] of buyers.entries()) await charge(world.db, buyer, BigInt(1000 + index), { ceiling: 2000n });
      const before = await claims();
      expect(await createSettlementWorker(deps).flush()).to.equal(true);
      const [tx, ...more] = (await claims()).slice(before.length);
      expect(more).to.deep.equal([]);
      expect((await batchesOf(tx!.tx_id)).map((batch) => [batch.state, batch.settled_atomic])).to.have.deep.members([["done", 2003n], ["done", 2005n], ["done", 2007n]]);
      for (const [index, receiver] of receivers.entries()) expect(await paid(receiver)).to.deep.equal([2003n + 2n * BigInt(index), 2003n + 2n * BigInt(index)]);
      const form = mode === "tallystick" ? "packed" : "plain";
      const row = rowSize(form, { signature: `0x${"00".repeat(65)}` });
      expect(tx!.gas_used <= TRANSACTION[form].gas + 3n * (GROUP[form].gas + PAYOUT.gas) + 6n * row.gas).to.equal(true);
      expect(tx!.bytes - 150).to.be.at.most(TRANSACTION[form].bytes + 3 * (GROUP[form].bytes + PAYOUT.bytes) + 6 * row.bytes);
    });

    it("lone rows of several receivers go in one transaction", async () => {
      const receivers = Array.from({ length: 4 }, newReceiver);
      for (const buyer of await openMany(receivers)) await charge(world.db, buyer, 700n);
      const before = await claims();
      expect(await createSettlementWorker(deps).flush()).to.equal(true);
      const [tx, ...more] = (await claims()).slice(before.length);
      expect([more.length, (await batchesOf(tx!.tx_id)).length]).to.deep.equal([0, 4]);
      for (const receiver of receivers) expect(await paid(receiver)).to.deep.equal([700n, 700n]);
    });

    for (const bad of [1, 3]) {
      it(`${bad} poisoned in 100 are set aside before they cost gas, and the rest settles`, async () => {
        const receiver = newReceiver();
        const buyers = await openMany(Array.from({ length: 100 }, () => receiver));
        const poisoned = buyers.filter((_, index) => [17, 18, 80].slice(0, bad).includes(index));
        for (const buyer of buyers) await charge(world.db, buyer, 100n, poisoned.includes(buyer) ? { signature: await stranger() } : {});
        const before = await claims();
        expect(await createSettlementWorker(deps).flush()).to.equal(true);
        expect(await paid(receiver)).to.deep.equal([100n * BigInt(100 - bad), 100n * BigInt(100 - bad)]);
        for (const buyer of poisoned) expect(await reasonOf(buyer)).to.match(/InvalidSignature|ECDSAInvalidSignature/);
        expect((await claims()).length - before.length).to.equal(1);
        const sent = await world.db.query("SELECT 1 FROM settlement_row WHERE channel_id = ANY($1)", [poisoned.map(({ channelId }) => toBytes(channelId))]);
        expect(sent.rowCount).to.equal(0);
      });
    }

    it("a blacklisted receiver holds nobody back, and its own claims stand", async () => {
      const receivers = Array.from({ length: 4 }, newReceiver);
      const [banned] = receivers as [Address];
      for (const buyer of await openMany([...receivers, ...receivers])) await charge(world.db, buyer, 500n);
      await sendToToken(world, "blacklist", [banned]);
      const before = await claims();
      expect(await createSettlementWorker(deps).flush()).to.equal(true);
      const [tx, ...more] = (await claims()).slice(before.length);
      expect(more).to.deep.equal([]);
      expect((await batchesOf(tx!.tx_id)).map((batch) => batch.settled_atomic).sort()).to.deep.equal([0n, 1000n, 1000n, 1000n]);
      expect(await paid(banned)).to.deep.equal([1000n, 0n]);
      for (const receiver of receivers.slice(1)) expect(await paid(receiver)).to.deep.equal([1000n, 1000n]);
    });

    it("a payer's wallet that burns gas costs nothing and delays nobody", async () => {
      const { abi, bytecode } = JSON.parse(readFileSync(new URL("../../artifacts/contracts/test-support/Wallets.sol/ScriptedWallet.json", import.meta.url), "utf8")) as { abi: Abi; bytecode: Hex };
      const receiver = newReceiver();
      const honest = await open(receiver);
      const hostile = await open(receiver, { payerAuthorizer: zeroAddress });
      for (const buyer of [honest, hostile]) await charge(world.db, buyer, 1000n);
      // The payer turns into a contract that burns what it is given.
      const deployer = createWalletClient({ account: USDC_ADMIN, transport: http(world.nodeUrl) });
      const deployed = await rpc<Hex>(world.nodeUrl, "eth_sendTransaction", [{ from: deployer.account.address, data: concatHex([bytecode, encodeAbiParameters([{ type: "address" }], [hostile.config.payer])]) }]);
      const { contractAddress } = await rpc<{ contractAddress: Hex }>(world.nodeUrl, "eth_getTransactionReceipt", [deployed]);
      await rpc(world.nodeUrl, "hardhat_setCode", [hostile.config.payer, await rpc<Hex>(world.nodeUrl, "eth_getCode", [contractAddress, "latest"])]);
      await rpc(world.nodeUrl, "eth_sendTransaction", [{ from: USDC_ADMIN, to: hostile.config.payer, data: encodeFunctionData({ abi, functionName: "setMode", args: [3, 0n] }) }]);
      const before = await claims();
      expect(await createSettlementWorker(deps).flush()).to.equal(true);
      expect([await total(honest), await total(hostile), (await claims()).length - before.length]).to.deep.equal([1000n, 0n, 1]);
      expect(await reasonOf(hostile)).to.be.a("string");
      await rpc(world.nodeUrl, "eth_sendTransaction", [{ from: USDC_ADMIN, to: hostile.config.payer, data: encodeFunctionData({ abi, functionName: "setMode", args: [0, 0n] }) }]);
      await world.db.query("UPDATE settlement_quarantine SET retry_at = now()");
      await world.db.query("UPDATE payment SET output_hash = request_hash, request_number = 1, started_at = now(), ended_at = now() WHERE channel_id = $1", [toBytes(hostile.channelId)]);
      expect(await createSettlementWorker(deps).flush()).to.equal(true);
      expect(await total(hostile)).to.equal(1000n);
      // Its claim is in the published form; the root of its receipt follows, and asks nothing of the wallet.
      const { rows } = await world.db.query("SELECT claimed_atomic, receipts_root IS NOT NULL AS rooted FROM settlement_row WHERE channel_id = $1 AND state = 'claimed' ORDER BY batch_id", [toBytes(hostile.channelId)]);
      expect(rows).to.deep.equal([{ claimed_atomic: 1000n, rooted: false }, ...(mode === "tallystick" ? [{ claimed_atomic: 0n, rooted: true }] : [])]);
    });

    it("a refused row is tried again as soon as the chain changes", async () => {
      const buyer = await open(newReceiver());
      await charge(world.db, buyer, 15_000n);
      // We believe in a deposit that the chain does not have.
      await world.db.query("UPDATE channel SET balance = 20000 WHERE channel_id = $1", [toBytes(buyer.channelId)]);
      const atOnce = createSettlementWorker({ ...deps, now: ((at) => () => at)(new Date()) });
      expect(await atOnce.flush()).to.equal(true);
      expect([await reasonOf(buyer), await total(buyer)]).to.deep.equal(["ClaimExceedsBalance", 0n]);
      await atOnce.flush();
      const { rows } = await world.db.query("SELECT attempts FROM settlement_quarantine WHERE channel_id = $1", [toBytes(buyer.channelId)]);
      expect(rows).to.deep.equal([{ attempts: 1 }]);
      await updateChainView(world.db, buyer.channelId, (await readView(deps, [buyer.channelId])).get(buyer.channelId)!);
      expect(await createSettlementWorker(deps).flush()).to.equal(true);
      expect([await reasonOf(buyer), await total(buyer)]).to.deep.equal([undefined, 10_000n]);
      // A top-up brings the rest.
      await carryDeposit(deps, await depositRequest(buyer, 10_000n));
      expect(await createSettlementWorker(deps).flush()).to.equal(true);
      expect(await total(buyer)).to.equal(15_000n);
    });

    it("a deposit that was gone for a moment, and is back as it was, is claimed soon", async () => {
      const buyer = await open(newReceiver());
      await charge(world.db, buyer, 15_000n);
      await world.db.query("UPDATE channel SET balance = 20000 WHERE channel_id = $1", [toBytes(buyer.channelId)]);
      const at = Date.now();
      const after = (s: number) => createSettlementWorker({ ...deps, now: () => new Date(at + 1_000 * s) });
      await after(0).flush();
      expect(await reasonOf(buyer)).to.equal("ClaimExceedsBalance");
      // The chain has what we read of it all along, so nothing of the row is new.
      await carryDeposit(deps, await depositRequest(buyer, 10_000n));
      const { rows } = await world.db.query("SELECT balance FROM channel WHERE channel_id = $1", [toBytes(buyer.channelId)]);
      expect(rows).to.deep.equal([{ balance: 20_000n }]);
      await after(2).flush();
      expect(await total(buyer)).to.equal(0n);
      await after(30).flush();
      expect([await reasonOf(buyer), await total(buyer)]).to.deep.equal([undefined, 15_000n]);
    });

    it("what somebody else claimed before we sent it is success, beside rows of ours", async () => {
      const receiver = newReceiver();
      const buyers = await openMany([receiver, receiver, receiver]);
      for (const buyer of buyers) await charge(world.db, buyer, 900n);
      const [theirs] = buyers as [Buyer];
      await sendToChannels(world, receiver, "claim", [[{ voucher: { channel: theirs.config, maxClaimableAmount: 900n }, signature: await signVoucher(theirs, 900n), totalClaimed: 900n }]]);
      external.set(theirs.channelId, 900n);
      expect(await createSettlementWorker(deps).flush()).to.equal(true);
      expect(await paid(receiver)).to.deep.equal([2700n, 2700n]);
      const { rows } = await world.db.query("SELECT state, claimed_atomic FROM settlement_row WHERE channel_id = $1", [toBytes(theirs.channelId)]);
      expect(rows).to.deep.equal([{ state: "claimed", claimed_atomic: 0n }]);
    });

    it("a reorganisation that drops a transaction opens all its batches again, and each row is claimed once", async () => {
      const receivers = [newReceiver(), newReceiver()];
      const buyers = await openMany([...receivers, ...receivers]);
      for (const buyer of buyers) await charge(world.db, buyer, 800n);
      await createFollower(deps).tick();
      const snapshot = await rpc<Hex>(world.nodeUrl, "evm_snapshot");
      expect(await createSettlementWorker(deps).flush()).to.equal(true);
      await rpc(world.nodeUrl, "evm_revert", [snapshot]);
      await mineOther(world, 3);
      expect(await paid(receivers[0]!)).to.deep.equal([0n, 0n]);
      await createFollower(deps).tick();
      expect(await createSettlementWorker(deps).flush()).to.equal(true);
      for (const receiver of receivers) expect(await paid(receiver)).to.deep.equal([1600n, 1600n]);
      const { rows } = await world.db.query("SELECT count(*) AS n, sum(claimed_atomic) AS claimed FROM settlement_row WHERE channel_id = ANY($1)", [buyers.map(({ channelId }) => toBytes(channelId))]);
      expect(rows).to.deep.equal([{ n: 4n, claimed: 3200n }]);
    });

    it("two workers at once: every row goes once, whichever receiver it is for", async () => {
      const other = await world.relayer({ env });
      const buyers = await openMany(Array.from({ length: 12 }, newReceiver));
      for (const buyer of buyers) await charge(world.db, buyer, 300n);
      await Promise.all([createSettlementWorker(deps).flush(), createSettlementWorker(other).flush()]);
      const { rows } = await world.db.query("SELECT channel_id FROM settlement_row WHERE channel_id = ANY($1)", [buyers.map(({ channelId }) => toBytes(channelId))]);
      expect(rows.length).to.equal(12);
      for (const buyer of buyers) expect(await total(buyer)).to.equal(300n);
    });

    it("age waits while the gas is too much of the value, and what waits hides nothing", async () => {
      const dear = await world.relayer({ submitterKey, env: { ...env, ...DEAR } });
      const small = await open(newReceiver());
      const big = await open(newReceiver());
      await charge(world.db, small, 600n, { agoS: 4000 });
      const before = await queued(small);
      await createSettlementWorker(dear).tick();
      expect(await total(small)).to.equal(0n);
      expect((await queued(small))! > before!).to.equal(true);
      await carryDeposit(deps, await depositRequest(big, 900_000n));
      await charge(world.db, big, 900_000n, { agoS: 4000 });
      const worker = createSettlementWorker(dear);
      await worker.tick();
      await worker.tick();
      expect([await total(small), await total(big)]).to.deep.equal([0n, 900_000n]);
    });

    it("a withdrawal makes its channel urgent; dust that leaves starts no transaction and is written off in every payment's trail", async () => {
      const dear = await world.relayer({ submitterKey, env: { ...env, ...DEAR } });
      const [rich, dust] = [await open(newReceiver()), await open(newReceiver())];
      await charge(world.db, rich, 9_000n);
      await charge(world.db, dust, 2n);
      await charge(world.db, dust, 5n);
      for (const buyer of [rich, dust]) await sendToChannels(world, buyer.config.payer, "initiateWithdraw", [buyer.config, 900n]);
      await createFollower(deps).tick();
      const before = await claims();
      const worker = createSettlementWorker(dear);
      await worker.tick();
      await worker.tick();
      expect([await total(rich), await total(dust), (await claims()).length - before.length]).to.deep.equal([9_000n, 0n, 1]);
      const audits = async () => (await world.db.query("SELECT code, moved_atomic, detail->>'unclaimedAtomic' AS unclaimed FROM audit WHERE channel_id = $1", [toBytes(dust.channelId)])).rows;
      expect(await audits()).to.deep.equal([]);
      await rpc(world.nodeUrl, "evm_increaseTime", [1000]);
      await mineOther(world);
      await worker.tick();
      expect(await audits()).to.deep.equal([1, 2].map(() => ({ code: "written_off", moved_atomic: 0n, unclaimed: "5" })));
      await worker.tick();
      expect([(await audits()).length, (await claims()).length - before.length]).to.deep.equal([2, 1]);
      // An answer that took longer than the withdrawal is worth claiming after all.
      await charge(world.db, dust, 9_000n);
      await worker.tick();
      await worker.tick();
      expect([await total(dust), (await claims()).length - before.length]).to.deep.equal([9_000n, 2]);
    });

    it("a row whose key left the ring keeps no other back", async () => {
      const lost = privateKeyToAccount(generatePrivateKey()).address;
      const [orphan] = (await openMany([newReceiver()], { receiverAuthorizer: lost })) as [Buyer];
      const fine = await open(newReceiver());
      for (const buyer of [orphan, fine]) await charge(world.db, buyer, 400n);
      expect(await createSettlementWorker(deps).flush()).to.equal(true);
      expect([await total(fine), await total(orphan), await reasonOf(orphan)]).to.deep.equal([400n, 0n, "AuthorizerUnknown"]);
    });
  });
}
