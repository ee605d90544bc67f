// The facilitator, asked by the official client and by hand: what it refuses, in the published words; that success is told once and only
// when money has moved; and what its key signs for whom.
import { HTTPFacilitatorClient } from "@x402/core/server";
import type { PaymentPayload, PaymentRequirements } from "@x402/core/types";
import { expect } from "chai";
import { encodeFunctionData, numberToHex, pad, parseAbi, parseSignature, parseUnits, toHex, type Address, type Hex, type LocalAccount, type PrivateKeyAccount } from "viem";
import { generatePrivateKey, privateKeyToAccount } from "viem/accounts";
import { rpc } from "../../scripts/local/chain.ts";
import { signIn } from "../../sdk/src/access.ts";
import { createAgent } from "../../sdk/src/agent/agent.ts";
import { BASE_SEPOLIA } from "../../sdk/src/constants.ts";
import { refundTypes, transferWithAuthorizationTypes, type ChannelConfig } from "../../sdk/src/typed-data.ts";
import { DOMAIN, encodeHeader, manualBuyer, type Required } from "../support/buyer.ts";
import { keyOf, ROLE } from "../support/config.ts";
import { startRpcProxy, type RpcProxy } from "../support/rpc-proxy.ts";
import { startTestWorld, type TestWorld } from "../support/relayer.ts";
import { Sessions } from "../support/session.ts";

const PRICE = 1000n;
const USDC = BASE_SEPOLIA.usdc;
const tokenAbi = parseAbi(["function transferWithAuthorization(address from, address to, uint256 value, uint256 validAfter, uint256 validBefore, bytes32 nonce, uint8 v, bytes32 r, bytes32 s)"]);

for (const mode of ["tallystick", "canonical"]) {
  describe(`facilitator, settlement mode ${mode}`, function () {
    this.timeout(120_000);
    let world: TestWorld;
    let proxy: RpcProxy;
    let client: HTTPFacilitatorClient;
    let salts = 0;

    before(async () => {
      world = await startTestWorld({ env: { RELAYER_SETTLEMENT_MODE: mode, RELAYER_FACILITATOR: "open" }, rpcUrl: async (chainUrl) => (proxy = await startRpcProxy(chainUrl)).url });
      client = new HTTPFacilitatorClient({ url: world.url });
    });
    after(async () => {
      await world.stop();
      await proxy.stop();
    });
    afterEach(() => proxy.heal());

    const newAccount = () => privateKeyToAccount(generatePrivateKey());
    async function newPayer(funds = parseUnits("1", 6)): Promise<PrivateKeyAccount> {
      const account = newAccount();
      await world.chain.mintUSDC(account.address, funds);
      return account;
    }
    const seller = newAccount();
    const post = (path: string, body: unknown, headers: Record<string, string> = {}) => fetch(`${world.url}${path}`, { method: "POST", headers: { "content-type": "application/json", ...headers }, body: JSON.stringify(body) });
    type Answer = { isValid?: boolean; invalidReason?: string; success?: boolean; errorReason?: string; transaction?: string; amount?: string };
    const ask = async (path: string, payment: { payload: unknown; requirements: unknown }, headers: Record<string, string> = {}): Promise<Answer & { code?: string; field?: string }> =>
      (await (await post(path, { x402Version: 2, paymentPayload: payment.payload, paymentRequirements: payment.requirements }, headers)).json()) as Answer;

    // exact
    const exactTerms = (payTo: Address = seller.address): PaymentRequirements => ({ scheme: "exact", network: BASE_SEPOLIA.network, amount: String(PRICE), asset: USDC.address, payTo, maxTimeoutSeconds: 60, extra: { name: USDC.name, version: USDC.version } });
    async function exact(payer: PrivateKeyAccount, change: Partial<{ value: bigint; to: Address; validBefore: bigint }> = {}, terms = exactTerms()) {
      const message = { from: payer.address, to: terms.payTo as Address, value: PRICE, validAfter: 0n, validBefore: BigInt(Math.floor(Date.now() / 1000) + 60), nonce: toHex(crypto.getRandomValues(new Uint8Array(32))), ...change };
      const domain = { name: USDC.name, version: USDC.version, chainId: BASE_SEPOLIA.chainId, verifyingContract: USDC.address };
      const signature = await payer.signTypedData({ domain, types: transferWithAuthorizationTypes, primaryType: "TransferWithAuthorization", message });
      const authorization = { ...message, value: String(message.value), validAfter: "0", validBefore: String(message.validBefore) };
      const payload: PaymentPayload = { x402Version: 2, accepted: terms, payload: { signature, authorization } } as PaymentPayload;
      return { payload, requirements: terms, message, signature };
    }
    const frontRun = ({ message, signature }: Awaited<ReturnType<typeof exact>>) => {
      const { r, s, yParity } = parseSignature(signature);
      const args = [message.from, message.to, message.value, message.validAfter, message.validBefore, message.nonce, 27 + yParity, r, s] as const;
      return new Sessions(world.chain).sendTo(world.chain.account(9), USDC.address, encodeFunctionData({ abi: tokenAbi, args }));
    };

    it("says what it serves, and offers its own key to servers that have none", async () => {
      const { kinds, signers } = await client.getSupported();
      expect(kinds.map(({ scheme, network }) => [scheme, network])).to.deep.equal([["exact", "eip155:84532"], ["batch-settlement", "eip155:84532"]]);
      expect(kinds[1]!.extra).to.deep.equal({ receiverAuthorizer: world.relayer.deps.keyring.active });
      expect(signers["eip155:*"]).to.deep.equal([world.relayer.deps.submitter.address]);
    });

    it("verifies and settles for the official client, and the money is there", async () => {
      const payment = await exact(await newPayer());
      expect(await client.verify(payment.payload, payment.requirements)).to.include({ isValid: true, payer: payment.message.from });
      const settled = await client.settle(payment.payload, payment.requirements);
      expect(settled).to.include({ success: true, network: "eip155:84532" });
      expect((await world.chain.client.getTransactionReceipt({ hash: settled.transaction as Hex })).status).to.equal("success");
    });

    it("refuses in the published words, and moves nothing", async () => {
      const payer = await newPayer();
      const cases: [Awaited<ReturnType<typeof exact>>, string][] = [
        [await exact(payer, { value: PRICE - 1n }), "invalid_exact_evm_payload_authorization_value_mismatch"],
        [await exact(payer, { to: newAccount().address }), "invalid_exact_evm_recipient_mismatch"],
        [await exact(payer, { validBefore: 1n }), "invalid_exact_evm_payload_authorization_valid_before"],
        [await exact(await newPayer(PRICE - 1n)), "invalid_exact_evm_insufficient_balance"],
      ];
      const forged = await exact(payer);
      (forged.payload.payload as { signature: Hex }).signature = `0x${"11".repeat(65)}`;
      for (const [payment, reason] of [...cases, [forged, "invalid_exact_evm_signature"]] as [typeof forged, string][]) {
        expect(await ask("/verify", payment), reason).to.include({ isValid: false, invalidReason: reason });
        expect(await ask("/settle", payment), reason).to.include({ success: false, errorReason: reason, transaction: "" });
      }
      const nonce = (await exact(payer)).message.nonce;
      expect(nonce).to.have.length(66);
    });

    it("tells success once: of two servers that were shown the same authorisation one delivers", async () => {
      const payment = await exact(await newPayer());
      const second = await world.anotherRelayer();
      const answers = await Promise.all([world.url, second.url, world.url].map(async (url) => (await (await fetch(`${url}/settle`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ x402Version: 2, paymentPayload: payment.payload, paymentRequirements: payment.requirements }) })).json()) as Answer));
      expect(answers.filter(({ success }) => success === true).length, JSON.stringify(answers)).to.equal(1);
      expect(answers.filter(({ errorReason }) => errorReason === "invalid_exact_evm_nonce_already_used").length).to.equal(2);
      const keyed = await exact(await newPayer());
      const [one, again, other] = [await ask("/settle", keyed, { "idempotency-key": "a" }), await ask("/settle", keyed, { "idempotency-key": "a" }), await ask("/settle", keyed, { "idempotency-key": "b" })];
      expect(again).to.deep.equal(one);
      expect([one.success, other.success]).to.deep.equal([true, false]);
    });

    it("counts a stranger's transaction with the same authorisation as paid, and never says so of one that did something else", async () => {
      const payment = await exact(await newPayer());
      const { hash } = await frontRun(payment);
      expect(await ask("/settle", payment)).to.include({ success: true, transaction: hash });
      expect(await ask("/verify", payment)).to.include({ isValid: false, invalidReason: "invalid_exact_evm_nonce_already_used" });
    });

    it("does not let one authorisation pay here and at our own gateway", async () => {
      const payer = await newPayer();
      const terms = ((await fetch(`${world.url}/s/echo/`)).headers.get("payment-required") ?? "") as string;
      const required = JSON.parse(Buffer.from(terms, "base64").toString()) as Required;
      const accepted = required.accepts.find(({ scheme }) => scheme === "exact") as unknown as PaymentRequirements;
      const buy = (payment: { payload: PaymentPayload }) => fetch(`${world.url}/s/echo/`, { headers: { "payment-signature": encodeHeader({ ...payment.payload, resource: required.resource }) } });
      const bought = await exact(payer, {}, accepted);
      expect((await buy(bought)).status).to.equal(200);
      expect(await ask("/settle", bought)).to.include({ success: false, errorReason: "invalid_exact_evm_nonce_already_used" });
      const settled = await exact(payer, {}, accepted);
      expect(await ask("/settle", settled)).to.include({ success: true });
      expect((await buy(settled)).status).to.equal(402);
    });

    it("is never the buyer's fault when the chain cannot be read", async () => {
      const payment = await exact(await newPayer());
      proxy.fail({ method: "*", kind: "drop" });
      for (const path of ["/verify", "/settle"]) {
        const response = await post(path, { x402Version: 2, paymentPayload: payment.payload, paymentRequirements: payment.requirements });
        expect(response.status).to.equal(503);
        expect(await response.json()).to.not.have.any.keys("isValid", "success");
      }
      proxy.heal();
      expect(await ask("/settle", payment)).to.include({ success: true });
    });

    it("names what is malformed", async () => {
      const payment = await exact(await newPayer());
      for (const [body, field] of [
        [{ x402Version: 1, paymentPayload: payment.payload, paymentRequirements: payment.requirements }, "x402Version"],
        [{ x402Version: 2, paymentPayload: { ...payment.payload, accepted: 1 }, paymentRequirements: payment.requirements }, "paymentPayload.accepted"],
        [{ x402Version: 2, paymentPayload: payment.payload, paymentRequirements: { ...payment.requirements, amount: 5 } }, "paymentRequirements.amount"],
      ] as const) {
        const response = await post("/verify", body);
        expect([response.status, ((await response.json()) as { field: string }).field]).to.deep.equal([400, field]);
      }
      expect(await ask("/verify", { ...payment, requirements: { ...payment.requirements, network: "eip155:1" } })).to.include({ isValid: false, invalidReason: "invalid_network" });
    });

    // batch-settlement
    const sessionTerms = (receiverAuthorizer: Address, payTo: Address = seller.address): Required["accepts"][0] => ({
      scheme: "batch-settlement", network: BASE_SEPOLIA.network, amount: String(PRICE), asset: USDC.address as Hex, payTo: payTo as Hex, maxTimeoutSeconds: 60,
      extra: { name: USDC.name, version: USDC.version, receiverAuthorizer, withdrawDelay: 900, assetTransferMethod: "eip3009" },
    });
    async function opened(receiverAuthorizer: Address, payer?: PrivateKeyAccount) {
      const account = payer ?? (await newPayer());
      const accepts = sessionTerms(receiverAuthorizer);
      const required: Required = { x402Version: 2, error: "", resource: { url: "http://seller.test/" }, accepts: [accepts], extensions: {} };
      const buyer = manualBuyer(account, "http://seller.test/", pad(toHex(++salts)));
      const deposit = { payload: await buyer.depositPayment(required, 10n * PRICE, PRICE), requirements: accepts };
      const config: ChannelConfig = buyer.configFor(required);
      return { account, accepts, required, buyer, deposit, config, channelId: buyer.channelId(required) };
    }
    type Opened = Awaited<ReturnType<typeof opened>>;
    const refundOf = async ({ accepts, config, channelId, account, buyer }: Opened, by?: LocalAccount) => {
      const voucher = await buyer.voucher(channelId, 0n);
      const signature = by === undefined ? {} : { refundAuthorizerSignature: await by.signTypedData!({ domain: DOMAIN, types: refundTypes, primaryType: "Refund", message: { channelId, nonce: 0n, amount: 4n * PRICE } }) };
      return { payload: { x402Version: 2, accepted: accepts, payload: { type: "refund", channelConfig: config, voucher, amount: String(4n * PRICE), refundNonce: "0", claims: [], ...signature } }, requirements: accepts, account };
    };
    const bearer = async (account: PrivateKeyAccount) => ({ authorization: `Bearer ${(await signIn({ relayerUrl: world.url, account })).token}` });

    it("carries deposits of channels under a server's own key, keeps no books of them, and refuses a channel that is being emptied", async () => {
      const server = newAccount();
      const session = await opened(server.address);
      expect(await ask("/verify", session.deposit)).to.include({ isValid: true });
      const settled = await ask("/settle", session.deposit);
      expect(settled).to.include({ success: true, amount: String(10n * PRICE) });
      expect(await ask("/settle", session.deposit), "the same deposit again is the same transaction").to.include({ success: true, transaction: settled.transaction });
      const { rows } = await world.relayer.deps.db.query("SELECT 1 FROM channel WHERE channel_id = $1", [Buffer.from(session.channelId.slice(2), "hex")]);
      expect(rows.length).to.equal(0);
      const voucher = { payload: await session.buyer.voucherPayment(session.required, 2n * PRICE), requirements: session.accepts };
      expect(await ask("/verify", voucher)).to.include({ isValid: true });
      expect(await ask("/verify", { payload: await session.buyer.voucherPayment(session.required, 11n * PRICE), requirements: session.accepts })).to.include({ isValid: false, invalidReason: "invalid_batch_settlement_evm_cumulative_exceeds_balance" });
      await rpc(world.chain.url, "hardhat_setBalance", [session.account.address, numberToHex(10n ** 18n)]);
      await new Sessions(world.chain).send(session.account, "initiateWithdraw", [session.config, PRICE]);
      expect(await ask("/verify", voucher)).to.include({ isValid: false, invalidReason: "invalid_batch_settlement_evm_withdrawal_pending" });
    });

    it("signs refunds for the receiver, signed in, and for nobody else", async () => {
      const session = await opened(world.relayer.deps.keyring.active);
      expect(await ask("/settle", session.deposit)).to.include({ success: true });
      const refund = await refundOf(session);
      expect(await ask("/settle", refund)).to.include({ success: false, errorReason: "invalid_batch_settlement_evm_authorizer_not_configured" });
      expect(await ask("/settle", refund, await bearer(session.account))).to.include({ success: false, errorReason: "invalid_batch_settlement_evm_authorizer_not_configured" });
      expect(await ask("/settle", refund, await bearer(seller))).to.include({ success: true, amount: String(4n * PRICE) });
    });

    it("carries a refund that its server signed, and refuses one for a channel of our own gateway even to the receiver", async () => {
      const server = newAccount();
      const session = await opened(server.address);
      await ask("/settle", session.deposit);
      expect(await ask("/settle", await refundOf(session, server))).to.include({ success: true, amount: String(4n * PRICE) });
      const buyer = manualBuyer(await newPayer(), `${world.url}/s/echo/`, pad(toHex(++salts)));
      const required = await buyer.terms();
      expect((await buyer.send(await buyer.depositPayment(required, 100n * PRICE, PRICE))).status).to.equal(200);
      const ours = { account: buyer.account, accepts: required.accepts[0], required, buyer, config: buyer.configFor(required), channelId: buyer.channelId(required) } as unknown as Opened;
      const receiver = privateKeyToAccount(keyOf(ROLE.receiver));
      expect(await ask("/settle", await refundOf(ours), await bearer(receiver))).to.include({ success: false });
      expect(await world.chain.client.readContract({ address: DOMAIN.verifyingContract, abi: parseAbi(["function refundNonce(bytes32) view returns (uint256)"]), functionName: "refundNonce", args: [ours.channelId] })).to.equal(0n);
    });

    it("takes an agent's deposit ahead of its first call, without ether", async () => {
      const account = await newPayer();
      const agent = createAgent({ account, rpcUrl: world.chain.url });
      expect(await agent.wallet.fund(150n * PRICE, { url: `${world.url}/s/echo/` })).to.include({ balance: 150n * PRICE });
      const response = await agent.fetch(`${world.url}/s/echo/`);
      expect([response.status, (await agent.wallet.getBalance()).channels[0]!.balance]).to.deep.equal([200, 150n * PRICE]);
    });
  });
}

describe("whom the facilitator settles for", function () {
  this.timeout(60_000);
  let world: TestWorld;
  before(async () => void (world = await startTestWorld({ env: { RELAYER_FACILITATOR: "services" } })));
  after(() => world.stop());

  it("its own sellers, nobody, or a list", async () => {
    const stranger = privateKeyToAccount(generatePrivateKey()).address;
    const reasonAt = async (url: string, payTo: Address) => {
      const accepted = { scheme: "exact", network: BASE_SEPOLIA.network, amount: "1", asset: USDC.address, payTo, maxTimeoutSeconds: 60 };
      const payload = { signature: `0x${"11".repeat(65)}`, authorization: { from: stranger, to: payTo, value: "1", validAfter: "0", validBefore: "9999999999", nonce: `0x${"1".repeat(64)}` } };
      const response = await fetch(`${url}/settle`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ x402Version: 2, paymentPayload: { x402Version: 2, accepted, payload }, paymentRequirements: accepted }) });
      return ((await response.json()) as { errorReason: string }).errorReason;
    };
    const own = world.relayer.deps.config.services[0]!.receiver;
    const [off, listed] = [await world.anotherRelayer({ RELAYER_FACILITATOR: "off" }), await world.anotherRelayer({ RELAYER_FACILITATOR: stranger })];
    expect([await reasonAt(world.url, own), await reasonAt(world.url, stranger)]).to.deep.equal(["invalid_exact_evm_signature", "receiver_not_served"]);
    expect([await reasonAt(off.url, own), await reasonAt(off.url, stranger)]).to.deep.equal(["receiver_not_served", "receiver_not_served"]);
    expect([await reasonAt(listed.url, own), await reasonAt(listed.url, stranger)]).to.deep.equal(["receiver_not_served", "invalid_exact_evm_signature"]);
  });
});
