// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {Digests} from "./Digests.sol";
import {IERC8183} from "../interfaces/IERC8183.sol";
import {IJobEscrow} from "../interfaces/IJobEscrow.sol";
import {IMandateRegistry} from "../interfaces/IMandateRegistry.sol";
import {JobDigests} from "./JobDigests.sol";
import {ScriptedHook} from "./Hooks.sol";
import {TestBase} from "./TestBase.sol";
import {ScriptedToken} from "./Tokens.sol";

/// @notice An escrow with its token, a mandate registry, a hook, and the people of a job; and a job in any of its states.
abstract contract JobWorld is TestBase {
    uint256 internal constant CLIENT_KEY = 0xC11E;
    uint256 internal constant PROVIDER_KEY = 0x960;
    uint256 internal constant EVALUATOR_KEY = 0xE7A1;
    uint256 internal constant AGENT_KEY = 0xA9E1;
    uint256 internal constant STRANGER_KEY = 0x5712;
    uint40 internal constant START = 1_800_000_000;
    uint40 internal constant EXPIRY = START + 1 days;
    uint256 internal constant BUDGET = 10_000_001;
    uint256 internal constant FOREVER = type(uint256).max;
    uint256 internal constant WEALTH = 1e15;
    bytes32 internal constant DELIVERABLE = "deliverable";
    bytes32 internal constant REASON = "reason";

    IJobEscrow internal escrow;
    IMandateRegistry internal registry;
    ScriptedToken internal token;
    ScriptedHook internal hook;
    address internal client;
    address internal provider;
    address internal evaluator;
    address internal stranger;

    function buildJobs() internal {
        buildJobs(0, address(0));
    }

    function buildJobs(uint16 feeBps, address treasury) internal {
        vm.warp(START);
        token = new ScriptedToken();
        hook = new ScriptedHook();
        address channels = deploy("SessionChannels.sol:SessionChannels", "");
        registry = IMandateRegistry(deploy("MandateRegistry.sol:MandateRegistry", abi.encode(channels, channels)));
        escrow = IJobEscrow(
            deploy("JobEscrow.sol:JobEscrow", abi.encode(address(token), address(registry), feeBps, treasury))
        );
        (client, provider) = (vm.addr(CLIENT_KEY), vm.addr(PROVIDER_KEY));
        (evaluator, stranger) = (vm.addr(EVALUATOR_KEY), vm.addr(STRANGER_KEY));
        token.mint(client, WEALTH);
        vm.prank(client);
        token.approve(address(escrow), type(uint256).max);
        vm.prank(client);
        token.approve(address(registry), type(uint256).max);
    }

    // ------------------------------------------------------------------ jobs

    function terms() internal view returns (IJobEscrow.HireTerms memory) {
        return IJobEscrow.HireTerms(provider, evaluator, address(0), EXPIRY, BUDGET, "translate a page", "");
    }

    function hookedTerms() internal view returns (IJobEscrow.HireTerms memory t) {
        t = terms();
        (t.hook, t.optParams) = (address(hook), "for the hook");
    }

    function openJob() internal returns (uint256) {
        vm.prank(client);
        return escrow.createJob(provider, evaluator, EXPIRY, "translate a page", address(0));
    }

    function hire(IJobEscrow.HireTerms memory t) internal returns (uint256) {
        vm.prank(client);
        return escrow.hire(t);
    }

    /// @notice A job in that state, whose budget (paid or to be paid) is BUDGET.
    function jobIn(IERC8183.JobStatus status) internal returns (uint256 jobId) {
        return jobIn(status, terms());
    }

    function jobIn(IERC8183.JobStatus status, IJobEscrow.HireTerms memory t) internal returns (uint256 jobId) {
        if (status == IERC8183.JobStatus.Open) {
            vm.prank(client);
            jobId = escrow.createJob(t.provider, t.evaluator, t.expiredAt, t.description, t.hook);
            vm.prank(client);
            escrow.setBudget(jobId, t.budget, "");
            return jobId;
        }
        jobId = hire(t);
        if (status == IERC8183.JobStatus.Funded) return jobId;
        if (status == IERC8183.JobStatus.Rejected) {
            vm.prank(evaluator);
            escrow.reject(jobId, REASON, "");
            return jobId;
        }
        vm.prank(provider);
        escrow.submit(jobId, DELIVERABLE, "");
        if (status == IERC8183.JobStatus.Completed) {
            vm.prank(evaluator);
            escrow.complete(jobId, REASON, "");
        }
        if (status == IERC8183.JobStatus.Expired) {
            uint256 now_ = block.timestamp;
            vm.warp(t.expiredAt);
            escrow.claimRefund(jobId);
            vm.warp(now_);
        }
    }

    function statusOf(uint256 jobId) internal view returns (IERC8183.JobStatus) {
        return escrow.stateOf(jobId).status;
    }

    function held() internal view returns (uint256) {
        return token.balanceOf(address(escrow));
    }

    // ------------------------------------------------------------------ signatures

    function signature(uint256 key, bytes32 digest) internal pure returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, digest);
        return abi.encodePacked(r, s, v);
    }

    function signVerb(uint256 key, string memory types, uint256 jobId, bytes32 word, bytes memory optParams, uint256 deadline)
        internal
        view
        returns (bytes memory)
    {
        return signature(key, JobDigests.verb(address(escrow), types, jobId, word, optParams, deadline));
    }

    /// @notice `authorization` of hireWithAuthorization, signed by `key`.
    function authorizationOf(uint256 key, address from, IJobEscrow.HireTerms memory t, bytes32 salt)
        internal
        view
        returns (bytes memory)
    {
        bytes32 nonce = keccak256(abi.encode(JobDigests.hire(address(escrow), from, t), salt));
        bytes32 digest = Digests.receiveWithAuthorization(
            token.DOMAIN_SEPARATOR(), from, address(escrow), t.budget, 0, FOREVER, nonce
        );
        return abi.encode(uint256(0), FOREVER, salt, signature(key, digest));
    }
}
