// Generated from contracts/collectors/ERC3009DepositCollector.sol by scripts/generate.ts (npm run build). Do not edit.
export const erc3009DepositCollectorAbi = [
  {"inputs":[{"name":"channelContract","type":"address"}],"stateMutability":"nonpayable","type":"constructor"},
  {"inputs":[],"name":"InvalidX402BatchSettlementAddress","type":"error"},
  {"inputs":[],"name":"OnlyX402BatchSettlement","type":"error"},
  {"inputs":[{"name":"token","type":"address"}],"name":"SafeERC20FailedOperation","type":"error"},
  {"inputs":[{"name":"payer","type":"address"},{"name":"token","type":"address"},{"name":"amount","type":"uint256"},{"name":"channelId","type":"bytes32"},{"name":"data","type":"bytes"}],"name":"collect","outputs":[],"stateMutability":"nonpayable","type":"function"},
  {"inputs":[],"name":"x402BatchSettlement","outputs":[{"name":"","type":"address"}],"stateMutability":"view","type":"function"},
] as const;
