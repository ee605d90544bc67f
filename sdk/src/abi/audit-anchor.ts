// Generated from contracts/AuditAnchor.sol by scripts/generate.ts (npm run build). Do not edit.
export const auditAnchorAbi = [
  {"anonymous":false,"inputs":[{"indexed":true,"name":"relayer","type":"address"},{"indexed":true,"name":"day","type":"uint64"},{"indexed":false,"name":"root","type":"bytes32"}],"name":"Anchored","type":"event"},
  {"inputs":[{"name":"root","type":"bytes32"},{"name":"day","type":"uint64"}],"name":"anchor","outputs":[],"stateMutability":"nonpayable","type":"function"},
] as const;
