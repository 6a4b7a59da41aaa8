// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";

/// @dev Anybody mints.
contract PlainToken is ERC20("Plain", "PLN") {
    function mint(address to, uint256 amount) external {
        _mint(to, amount);
    }
}

/// @dev Takes a part of each transfer.
contract FeeToken is ERC20("Fee", "FEE") {
    uint256 public feeBps;

    constructor(uint256 bps) {
        feeBps = bps;
    }

    function mint(address to, uint256 amount) external {
        _mint(to, amount);
    }

    function _update(address from, address to, uint256 amount) internal override {
        uint256 fee = from == address(0) || to == address(0) ? 0 : amount * feeBps / 10_000;
        super._update(from, to, amount - fee);
        if (fee != 0) super._update(from, address(0xfee), fee);
    }
}

/// @dev Says false where others revert, if told to.
contract FalseToken is ERC20("False", "FLS") {
    bool public broken;

    function mint(address to, uint256 amount) external {
        _mint(to, amount);
    }

    function setBroken(bool value) external {
        broken = value;
    }

    function transfer(address to, uint256 amount) public override returns (bool) {
        return broken ? false : super.transfer(to, amount);
    }

    function transferFrom(address from, address to, uint256 amount) public override returns (bool) {
        return broken ? false : super.transferFrom(from, to, amount);
    }
}

/// @dev Returns nothing, as some old tokens do.
contract SilentToken {
    mapping(address => uint256) public balanceOf;
    mapping(address => mapping(address => uint256)) public allowance;

    function mint(address to, uint256 amount) external {
        balanceOf[to] += amount;
    }

    function approve(address spender, uint256 amount) external {
        allowance[msg.sender][spender] = amount;
    }

    function transfer(address to, uint256 amount) external {
        balanceOf[msg.sender] -= amount;
        balanceOf[to] += amount;
    }

    function transferFrom(address from, address to, uint256 amount) external {
        allowance[from][msg.sender] -= amount;
        balanceOf[from] -= amount;
        balanceOf[to] += amount;
    }
}

/// @dev Calls somebody at each transfer, as ERC-777 does, and keeps what came of it.
contract CallbackToken is ERC20("Callback", "CLB") {
    address public target;
    bytes public data;
    bool public called;
    bool public succeeded;
    bytes public returned;

    function mint(address to, uint256 amount) external {
        _mint(to, amount);
    }

    function arm(address target_, bytes calldata data_) external {
        (target, data, called) = (target_, data_, false);
    }

    function _update(address from, address to, uint256 amount) internal override {
        super._update(from, to, amount);
        if (target == address(0) || called) return;
        called = true;
        (succeeded, returned) = target.call(data);
    }
}
