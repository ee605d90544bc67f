// A thief has the agent's key and everything the agent had: mandate, guard's address, seller. It tries all it can; what it gets is never more
// than `mandate show` said it could cost, and the mandate is never overspent, on chain and in the ledger.
import { expect } from "chai";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createWalletClient, http, keccak256, numberToHex, parseUnits, type Address, type Hex } from "viem";
import { generatePrivateKey, privateKeyToAccount, type PrivateKeyAccount } from "viem/accounts";
import { baseSepolia } from "viem/chains";
import { sessionChannelsAbi } from "../../sdk/src/abi/session-channels.ts";
import { mandateRegistryAbi } from "../../sdk/src/abi/mandate-registry.ts";
import { ChannelBook } from "../../sdk/src/agent/channel.ts";
import { mandateDeposits } from "../../sdk/src/agent/mandate-deposit.ts";
import { idOf } from "../../sdk/src/agent/payments.ts";
import { readBalance, readChannel } from "../../sdk/src/agent/chain.ts";
import { SESSION_CHANNELS } from "../../sdk/src/constants.ts";
import { TallystickError } from "../../sdk/src/errors.ts";
import { GuardClient } from "../../sdk/src/guard/client.ts";
import { guardDomain, guardRequestTypes, toWireOrder, type Order } from "../../sdk/src/guard/request.ts";
import { idsOf, toWireLineage, type Lineage } from "../../sdk/src/lineage.ts";
import { mandateIdOf, mandateRegistryDomain, mandateTypes } from "../../sdk/src/mandate.ts";
import { mandateSpendTypes, spendOrder } from "../../sdk/src/mandate-messages.ts";
import { createMandate, delegateMandate } from "../../sdk/src/mandates.ts";
import { payeeProof } from "../../sdk/src/payees.ts";
import { readLineage } from "../../sdk/src/registry.ts";
import { writeMandate } from "../../sdk/src/cli/mandate-files.ts";
import { rpc } from "../../scripts/local/chain.ts";
import { tallystick } from "../support/cli.ts";
import { addressOf, ROLE } from "../support/config.ts";
import { agentUnder, AT, grant, newAccount, newPrincipal, startTestGuard, USDC, type Principal, type TestGuard } from "../support/mandates.ts";
import { startTestWorld, type TestWorld } from "../support/relayer.ts";

const PRICE = 1_000n;
const LIMIT = 50n * PRICE;
const PAYEE = addressOf(ROLE.receiver);
const DOMAIN = mandateRegistryDomain(AT.chainId, AT.registry);

describe("attack: a stolen agent key", function () {
  this.timeout(240_000);
  let world: TestWorld;
  let principal: Principal;
  let guard: TestGuard;
  let folder: string;
  let account: PrivateKeyAccount;
  let lineage: Lineage;
  let mandateId: Hex;
  /** Has ether, so that nothing fails for want of gas. */
  let thief: PrivateKeyAccount;
  let shown: { most: bigint; withVoucherKey: bigint };
  let principalBefore: bigint;

  before(async () => {
    world = await startTestWorld();
    [principal, guard, folder] = await Promise.all([newPrincipal(world.chain.url), startTestGuard(world.chain.url), mkdtemp(join(tmpdir(), "tallystick-attack-"))]);
    const key = generatePrivateKey();
    account = thief = privateKeyToAccount(key);
    await rpc(world.chain.url, "hardhat_setBalance", [account.address, numberToHex(parseUnits("10", 18))]);
    lineage = await grant(principal, account.address, { limit: LIMIT, paymentLimit: 20n * PRICE, periodLimit: 40n * PRICE, payees: [PAYEE] });
    mandateId = idsOf(DOMAIN, lineage)[0]!;
    // The honest agent has paid some calls; its channel holds more than is signed.
    const { agent } = agentUnder(world.chain.url, account, lineage, guard.url, { deposit: { calls: 10 } });
    for (let call = 0; call < 3; call++) expect((await agent.fetch(url())).status).equal(200);
    const { path } = await writeMandate(folder, AT, lineage);
    const ran = await tallystick(["mandate", "show", path, "--json"], { env: { TALLYSTICK_RPC_URL: world.chain.url, TALLYSTICK_GUARD_URL: guard.url, TALLYSTICK_STATE: folder } });
    expect(ran.code, ran.stderr + ran.stdout).equal(0);
    const { exposure } = ran.json as { exposure: { agentKeyAtomic: string; withVoucherKeyAtomic: string; payees: Address[] } };
    shown = { most: BigInt(exposure.agentKeyAtomic), withVoucherKey: BigInt(exposure.withVoucherKeyAtomic) };
    expect(exposure.payees.map((payee) => payee.toLowerCase())).deep.equal([PAYEE.toLowerCase()]);
    principalBefore = await readBalance(principal.reader, USDC, principal.account.address);
  });
  after(async () => {
    await guard.close();
    await world.stop();
    await rm(folder, { recursive: true, force: true });
  });

  const url = (path = "/") => `${world.url}/s/echo${path}`;
  const refusal = async (work: Promise<unknown>): Promise<TallystickError> => {
    const error = await work.then(() => undefined, (reason: unknown) => reason);
    expect(error, "it was not refused").instanceOf(TallystickError);
    return error as TallystickError;
  };
  const acceptsOf = (payTo: Address, amount = PRICE) => ({ scheme: "batch-settlement", network: "eip155:84532", amount: String(amount), asset: USDC, payTo, extra: { withdrawDelay: 900 } });
  const bookOf = async (payTo: Address, salt: number) => {
    const client = new GuardClient({ url: guard.url, account, mandate: lineage, ...AT });
    const config = { payer: principal.account.address, payerAuthorizer: await client.authorizer(), receiver: payTo, receiverAuthorizer: addressOf(ROLE.authorizer), token: USDC, withdrawDelay: 900, salt: numberToHex(salt, { size: 32 }) };
    return { client, book: new ChannelBook({ channelId: idOf(AT.chainId, SESSION_CHANNELS, config), config, signed: 0n, charged: 0n, balance: 10n ** 12n }) };
  };
  const ask = async (payTo: Address, price: bigint, ceiling: bigint, salt: number) => {
    const { client, book } = await bookOf(payTo, salt);
    return client.voucher(book, { ceiling, price }, { method: "GET", url: url(), body: undefined, price, most: ceiling, accepts: acceptsOf(payTo) });
  };
  const send = async (functionName: string, args: unknown[]): Promise<string> => {
    const wallet = createWalletClient({ account: thief, chain: baseSepolia, transport: http(world.chain.url) });
    const hash = await wallet.writeContract({ address: AT.registry, abi: mandateRegistryAbi, functionName, args, gas: 2_000_000n } as never);
    return (await principal.reader.waitForTransactionReceipt({ hash })).status;
  };

  /** Whatever was tried: no limit of the mandate is passed, on chain, in the guard, in the ledger. */
  async function zeroOverspend(): Promise<void> {
    const { states } = await readLineage(principal.reader, AT.registry, lineage, [mandateId]);
    expect(states[0]!.spent <= LIMIT, `on chain ${states[0]!.spent}`).equal(true);
    expect(states[0]!.periodSpent <= 40n * PRICE).equal(true);
    const { accounts } = await guard.guard.status(mandateId);
    expect(accounts[0]!.spent <= LIMIT).equal(true);
    expect(accounts[0]!.periodSpent <= 40n * PRICE).equal(true);
    const { rows } = await world.relayer.deps.db.query<{ charged: bigint }>("SELECT coalesce(sum(charged), 0) AS charged FROM channel WHERE payer = $1::bytea", [Buffer.from(principal.account.address.slice(2), "hex")]);
    expect(rows[0]!.charged <= LIMIT).equal(true);
  }
  afterEach(zeroOverspend);

  it("funds a channel under a voucher key of its own, past guard and relayer: only to the payee, and charged to the mandate on chain", async () => {
    const deposits = mandateDeposits(account, { lineage, registry: AT.registry } as GuardClient, principal.reader);
    const deposit = async (receiver: Address) => {
      const config = { payer: principal.account.address, payerAuthorizer: thief.address, receiver, receiverAuthorizer: addressOf(ROLE.authorizer), token: USDC, withdrawDelay: 900, salt: numberToHex(77n, { size: 32 }) };
      const book = new ChannelBook({ channelId: idOf(AT.chainId, SESSION_CHANNELS, config), config, signed: 0n, charged: 0n, balance: 0n });
      const wire = await deposits({ chainId: AT.chainId } as never, book, 5n * PRICE, 5n * PRICE);
      const { data } = (wire!["authorization"] as { mandateDeposit: { data: Hex } }).mandateDeposit;
      const wallet = createWalletClient({ account: thief, chain: baseSepolia, transport: http(world.chain.url) });
      const hash = await wallet.writeContract({ address: SESSION_CHANNELS, abi: sessionChannelsAbi, functionName: "deposit", args: [config, 5n * PRICE, AT.registry, data], gas: 2_000_000n });
      return { status: (await principal.reader.waitForTransactionReceipt({ hash })).status, channelId: book.channelId };
    };
    const spent = async () => (await readLineage(principal.reader, AT.registry, lineage, [mandateId])).states[0]!.spent;
    const before = await spent();
    // No proof leads to the thief's own address, so the SDK has none to give either.
    expect(await refusal(deposit(thief.address))).include({ code: "payee_not_allowed" });
    const { status, channelId } = await deposit(PAYEE);
    expect(status).equal("success");
    expect((await readChannel(principal.reader, SESSION_CHANNELS, channelId)).balance).equal(5n * PRICE);
    expect(await spent()).equal(before + 5n * PRICE);
  });

  it("pays itself through the guard: not a payee of the mandate", async () => {
    expect((await refusal(ask(thief.address, PRICE, PRICE, 1))).extra["rule"]).equal("mandate.payees");
  });

  it("hides the terms of a channel that pays itself behind those of another, in one call", async () => {
    const { book: own } = await bookOf(thief.address, 4);
    const { book: allowed } = await bookOf(PAYEE, 4);
    const order = async (config: ChannelBook["config"], nth: number): Promise<Order> => {
      const request = {
        mandateId, channelId: own.channelId, method: "GET", url: url(), bodyHash: keccak256("0x"), payTo: config.receiver, price: PRICE, ceiling: PRICE, nonce: numberToHex(nth, { size: 32 }), expiresAt: Math.floor(Date.now() / 1000) + 60,
      };
      const signature = await account.signTypedData({ domain: guardDomain(AT.chainId, AT.registry), types: guardRequestTypes, primaryType: "GuardRequest", message: request });
      return { config, request, accepts: acceptsOf(config.receiver), signature };
    };
    const orders = [await order(own.config, 1), await order(allowed.config, 2)].map(toWireOrder);
    const response = await fetch(`${guard.url}/guard/v1/vouchers`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ orders }) });
    const { answers } = (await response.json()) as { answers: { voucher?: unknown; problem?: { code: string } }[] };
    expect(answers.map(({ voucher, problem }) => voucher ?? problem?.code)).deep.equal(["mandate_payee_not_allowed", "guard_terms_mismatch"]);
  });

  it("asks for a voucher that is higher than its call", async () => {
    expect(await refusal(ask(PAYEE, PRICE, 20n * PRICE, 2))).include({ code: "guard_ceiling_too_high" });
  });

  it("names a price above one payment's limit", async () => {
    expect(await refusal(ask(PAYEE, 20n * PRICE + 1n, 20n * PRICE + 1n, 3))).include({ code: "mandate_payment_limit" });
  });

  it("opens channel after channel, each within the limit", async () => {
    let signed = 0n;
    for (let salt = 10; ; salt++) {
      const voucher = await ask(PAYEE, 15n * PRICE, 15n * PRICE, salt).catch((error: unknown) => error as TallystickError);
      if (voucher instanceof TallystickError) {
        expect(voucher.code).equal("mandate_exhausted");
        break;
      }
      signed += BigInt(voucher.maxClaimableAmount);
    }
    expect(signed <= 40n * PRICE).equal(true);
    // They are vouchers on channels that hold nothing: worth nothing.
    const { channels } = await guard.guard.status(mandateId);
    const held = await Promise.all(channels.map(async ({ channelId }) => (await readChannel(principal.reader, SESSION_CHANNELS, channelId)).balance));
    expect(held.filter((balance) => balance > 0n).length).equal(1);
  });

  it("signs requests with another key, and for another's mandate", async () => {
    const other = newAccount();
    const stranger = await grant(principal, other.address, { limit: LIMIT });
    const client = new GuardClient({ url: guard.url, account: other, mandate: stranger, ...AT });
    await client.authorizer();
    const { book } = await bookOf(PAYEE, 30);
    const forged = new GuardClient({ url: guard.url, account: other, mandate: lineage, ...AT });
    expect(await refusal(forged.voucher(book, { ceiling: PRICE, price: PRICE }, { method: "GET", url: url(), body: undefined, price: PRICE, accepts: acceptsOf(PAYEE) }))).include({ code: "guard_signature_invalid" });
    // Its own channels under somebody else's key of the same guard.
    expect(await refusal(client.voucher(book, { ceiling: PRICE, price: PRICE }, { method: "GET", url: url(), body: undefined, price: PRICE, accepts: acceptsOf(PAYEE) }))).include({ code: "guard_terms_mismatch" });
  });

  it("makes itself a wider sub-mandate", async () => {
    const { mandate } = lineage[0];
    const wide = { ...mandate, delegate: thief.address, limit: LIMIT * 10n, parent: mandateIdOf(DOMAIN, mandate), salt: numberToHex(7n, { size: 32 }) };
    const forged = [{ mandate: wide, signature: await account.signTypedData({ domain: DOMAIN, types: mandateTypes, primaryType: "Mandate", message: wide }), payees: [PAYEE] }, ...lineage] as unknown as Lineage;
    const response = await fetch(`${guard.url}/guard/v1/mandates`, { method: "POST", body: JSON.stringify({ lineage: toWireLineage(forged) }) });
    expect(response.status).equal(403);
    expect(((await response.json()) as { code: string }).code).equal("mandate_too_wide");
    const order = spendOrder({ lineage: forged.map((one) => one.mandate), payee: PAYEE, amount: PRICE, proofs: [payeeProof([PAYEE], PAYEE), payeeProof([PAYEE], PAYEE)], approvals: forged.map(({ signature }) => signature) });
    expect(await send("spend", [order])).equal("reverted");
  });

  it("makes itself sub-mandates as wide as its own: all are charged to it", async () => {
    for (let round = 0; round < 3; round++) {
      const key = newAccount();
      const below = await delegateMandate(account, AT, lineage, { delegate: key.address });
      const sub = agentUnder(world.chain.url, key, below, guard.url, { deposit: { calls: 1 } });
      await sub.agent.fetch(url()).catch((error: unknown) => expect((error as TallystickError).code).oneOf(["mandate_exhausted", "payment_refused"]));
    }
  });

  it("signs itself a mandate in the principal's name", async () => {
    const forged = await createMandate({ ...account, address: principal.account.address } as PrivateKeyAccount, AT, { delegate: thief.address, token: USDC, limit: LIMIT, validFor: "1d" });
    const response = await fetch(`${guard.url}/guard/v1/mandates`, { method: "POST", body: JSON.stringify({ lineage: toWireLineage(forged) }) });
    expect(((await response.json()) as { code: string }).code).equal("mandate_signature_invalid");
    expect(await send("spend", [spendOrder({ lineage: forged.map(({ mandate }) => mandate), payee: thief.address, amount: PRICE, approvals: forged.map(({ signature }) => signature) })])).equal("reverted");
  });

  it("goes straight to the contract: to itself nothing, to the payee what the mandate leaves, and all of it is no more than was shown", async () => {
    const spend = (payee: Address, amount: bigint) => send("spend", [spendOrder({ lineage: lineage.map(({ mandate }) => mandate), payee, amount, proofs: [payee === PAYEE ? payeeProof([PAYEE], PAYEE) : []], approvals: [lineage[0].signature] })]);
    expect(await spend(thief.address, PRICE)).equal("reverted");
    expect(await spend(PAYEE, 20n * PRICE + 1n)).equal("reverted");
    for (const amount of [20n * PRICE, 20n * PRICE, 5n * PRICE, PRICE, PRICE, PRICE]) await spend(PAYEE, amount);
    // By signature too, sent by anybody.
    const message = { mandateId, payee: thief.address, amount: PRICE, nonce: 99n, deadline: 10n ** 12n };
    const signature = await account.signTypedData({ domain: DOMAIN, types: mandateSpendTypes, primaryType: "MandateSpend", message });
    const order = spendOrder({ lineage: lineage.map(({ mandate }) => mandate), payee: thief.address, amount: PRICE, approvals: [lineage[0].signature] });
    expect(await send("spendWithSignature", [{ order, nonce: 99n, deadline: 10n ** 12n, signature }])).equal("reverted");
  });

  it("in the end has cost no more than mandate show said", async () => {
    const left = principalBefore - (await readBalance(principal.reader, USDC, principal.account.address));
    const { channels } = await guard.guard.status(mandateId);
    const before = 3n * PRICE;
    const signed = channels.map(async ({ channelId, highest }) => {
      const { balance } = await readChannel(principal.reader, SESSION_CHANNELS, channelId);
      return balance < highest ? balance : highest;
    });
    const takeable = (await Promise.all(signed)).reduce((sum, amount) => sum + amount, 0n) - before;
    expect(left + takeable <= shown.most, `${left} left and ${takeable} can be taken; shown was ${shown.most}`).equal(true);
    expect(shown.withVoucherKey >= shown.most).equal(true);
    expect(await readBalance(principal.reader, USDC, thief.address)).equal(0n);
  });
});
