// The module and the Base parameters on a fresh chain with the real CreateX, which Ignition puts there itself.
import { expect } from "chai";
import hre from "hardhat";
import { createPublicClient, custom, getAddress, keccak256, pad, type Address, type Hex } from "viem";
import Tallystick, { DEPLOYED, type DeployedName } from "../../ignition/modules/Tallystick.ts";
import { NETWORKS, parametersOf } from "../../ignition/parameters.ts";
import { CREATEX, CREATEX_CODE_HASH, guardedSalt, create2Address } from "../../ignition/predict.ts";
import { chainById, SESSION_CHANNELS } from "../../sdk/src/constants.ts";
import { compile } from "../../scripts/artifacts.ts";
import { planFor } from "../../scripts/deploy/plan.ts";
import { verifyDeployment, type Addresses } from "../../scripts/deploy/verify.ts";

const base = parametersOf("base");
const FRESH_CHAIN = 31337;

async function freshChain() {
  const connection = await hre.network.create("default");
  const client = createPublicClient({ transport: custom(connection.provider) });
  const accounts = (await connection.provider.request({ method: "eth_accounts" })) as Address[];
  const deploy = async (defaultSender: Address): Promise<Addresses> => {
    const { strategy, salt } = base;
    const contracts = await connection.ignition.deploy(Tallystick, { strategy, strategyConfig: { salt }, defaultSender });
    const entries = DEPLOYED.map(async (name) => [name, await contracts[name].getAddress()] as const);
    return Object.fromEntries(await Promise.all(entries)) as Addresses;
  };
  return { connection, client, deploy, accounts: accounts.map((account) => getAddress(account)) };
}

function predicted(deployer: Address): Addresses {
  return Object.fromEntries(planFor(base, { deployer, chainId: FRESH_CHAIN }).map(({ name, address }) => [name, address])) as Addresses;
}

describe("deployment from the Base parameters", function () {
  this.timeout(180_000); // compiles on a fresh checkout
  before(() => compile());

  it("stands at the predicted addresses, whoever deploys", async () => {
    for (const index of [0, 7]) {
      const { connection, client, accounts, deploy } = await freshChain();
      const addresses = await deploy(accounts[index]!);
      expect(addresses).to.deep.equal(predicted(accounts[index]!));
      expect(addresses).to.deep.equal(predicted(accounts[index === 0 ? 7 : 0]!));
      expect(await client.getTransactionCount({ address: accounts[index]! })).to.equal(DEPLOYED.length);
      await connection.close();
    }
  });

  it("holds the USDC of each chain", () => {
    for (const network of NETWORKS) {
      const { chainId, usdc } = parametersOf(network);
      expect(usdc, network).to.equal(chainById(chainId)!.usdc.address);
    }
  });

  it("is the same on Base and Base Sepolia, but for what knows USDC or the identities of the chain", () => {
    const addresses = (network: "base" | "base-sepolia") => {
      const parameters = parametersOf(network);
      return planFor(parameters, { deployer: pad("0x01", { size: 20 }), chainId: parameters.chainId });
    };
    const [base, sepolia] = [addresses("base"), addresses("base-sepolia")];
    const same = base.filter(({ address }, index) => address === sepolia[index]!.address).map(({ name }) => name);
    const ofTheChain: DeployedName[] = ["JobEscrow", "DisputeEvaluator", "BazaarRegistry"];
    expect(same).to.deep.equal(DEPLOYED.filter((name) => !ofTheChain.includes(name)));
  });

  it("passes the checks on chain, and fails them where code or immutables differ", async () => {
    const { connection, client, accounts, deploy } = await freshChain();
    const addresses = await deploy(accounts[0]!);
    const { checks, faults } = await verifyDeployment(client, FRESH_CHAIN, addresses);
    expect(faults).to.deep.equal([]);
    expect(checks.length).to.be.greaterThan(12);

    const faultsOf = async (chainId: number, other: Partial<Addresses>) => {
      const found = await verifyDeployment(client, chainId, { ...addresses, ...other });
      return found.faults.map(({ contract, what }) => `${contract}: ${what}`);
    };
    const nowhere = pad("0x99", { size: 20 });
    expect(await faultsOf(FRESH_CHAIN, { SessionChannels: nowhere })).to.deep.equal(["SessionChannels: code but for its immutables"]);
    expect(await faultsOf(FRESH_CHAIN, { ERC3009DepositCollector: addresses.AllowanceDepositCollector })).to.deep.equal([
      "ERC3009DepositCollector: code but for its immutables",
    ]);
    expect(await faultsOf(8453, {})).to.include.members(["SessionChannels: EIP-712 domain", "AllowanceDepositCollector: EIP-712 domain"]);

    // The same code elsewhere: it works there, but the collectors and the registry serve the other one.
    const code = (await client.getCode({ address: addresses.SessionChannels }))!;
    await connection.provider.request({ method: "hardhat_setCode", params: [nowhere, code] });
    expect(await faultsOf(FRESH_CHAIN, { SessionChannels: nowhere })).to.deep.equal([
      "ERC3009DepositCollector: channel contract it serves",
      "AllowanceDepositCollector: channel contract it serves",
      "MandateRegistry: channel contract it funds",
      "BazaarRegistry: channel contract whose claims it rates",
    ]);

    // One changed byte outside the immutables.
    const changed: Hex = `0x${code.slice(2, -2)}${code.endsWith("00") ? "01" : "00"}`;
    await connection.provider.request({ method: "hardhat_setCode", params: [addresses.SessionChannels, changed] });
    expect(await faultsOf(FRESH_CHAIN, {})).to.deep.equal(["SessionChannels: code but for its immutables"]);
    await connection.close();
  });
});

describe("predicted create2 addresses", function () {
  this.timeout(120_000);
  // Creates a contract whose code is one byte.
  const initCode: Hex = "0x600160005360016000f3";
  const abi = [
    {
      type: "function",
      name: "deployCreate2",
      stateMutability: "payable",
      inputs: [{ type: "bytes32" }, { type: "bytes" }],
      outputs: [{ type: "address" }],
    },
  ] as const;
  let chain: Awaited<ReturnType<typeof freshChain>>;
  before(async () => {
    chain = await freshChain();
    await chain.deploy(chain.accounts[0]!); // Ignition places CreateX
  });
  after(() => chain.connection.close());

  it("rest on the CreateX that Base has", async () => {
    expect(keccak256((await chain.client.getCode({ address: CREATEX }))!)).to.equal(CREATEX_CODE_HASH);
  });

  // CreateX reads a salt's first 20 bytes as the only permitted deployer, its byte 21 as "not on other chains".
  const rest = "aabbccddeeff0011223344";
  const salts: [kind: string, salt: (deployer: Address) => Hex][] = [
    ["ours", () => base.salt],
    ["bound to the deployer", (deployer) => `${deployer.toLowerCase() as Hex}00${rest}`],
    ["bound to deployer and chain", (deployer) => `${deployer.toLowerCase() as Hex}01${rest}`],
    ["bound to the chain", () => `0x${"00".repeat(20)}01${rest}`],
    ["bound to nothing, with zeros in front", () => `0x${"00".repeat(20)}00${rest}`],
  ];
  for (const [kind, saltOf] of salts) {
    it(`are CreateX's own for a salt ${kind}`, async () => {
      for (const deployer of chain.accounts.slice(0, 2)) {
        const salt = saltOf(deployer);
        const { result } = await chain.client.simulateContract({ account: deployer, address: CREATEX, abi, functionName: "deployCreate2", args: [salt, initCode] });
        expect(create2Address(salt, initCode, { deployer, chainId: FRESH_CHAIN })).to.equal(result);
      }
    });
  }

  it("do not exist for a salt that CreateX refuses", async () => {
    const [deployer] = chain.accounts as [Address];
    const salt: Hex = `${deployer.toLowerCase() as Hex}02${rest}`;
    expect(() => guardedSalt(salt, { deployer, chainId: FRESH_CHAIN })).to.throw(/refuses/);
    const simulation = chain.client.simulateContract({ account: deployer, address: CREATEX, abi, functionName: "deployCreate2", args: [salt, initCode] });
    expect(await simulation.then(() => "deployed", () => "refused")).to.equal("refused");
  });

  it("follow the module: each contract is given the channel contracts' addresses where it takes them", () => {
    const plan = planFor(base, { deployer: chain.accounts[0]!, chainId: FRESH_CHAIN });
    expect(plan.map(({ name }) => name as DeployedName)).to.deep.equal([...DEPLOYED]);
    const [channels, byAuthorization, byAllowance, registry] = plan;
    const word = (address: Address) => address.slice(2).toLowerCase().padStart(64, "0");
    for (const collector of [byAuthorization, byAllowance]) expect(collector!.initCode.endsWith(word(channels!.address))).to.equal(true);
    expect(registry!.initCode.endsWith(word(channels!.address) + word(SESSION_CHANNELS))).to.equal(true);
    const bazaar = plan.find(({ name }) => name === "BazaarRegistry")!;
    const { identityRegistry, reputationRegistry } = base.bazaar;
    const first = [identityRegistry, reputationRegistry, channels!.address, SESSION_CHANNELS].map(word).join("");
    expect(bazaar.initCode.slice(-8 * 64, -4 * 64)).to.equal(first);
  });
});
